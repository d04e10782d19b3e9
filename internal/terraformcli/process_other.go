//go:build !unix

package terraformcli

import (
	"os"
	"os/exec"
)

func setGroup(*exec.Cmd) {}

func signalGroup(p *os.Process, signal os.Signal) error { return p.Signal(signal) }

// interruptGroup leaves Ctrl-C to the console, which passes it to every process that it shows.
func interruptGroup(*os.Process) error { return nil }
