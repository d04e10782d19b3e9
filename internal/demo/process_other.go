//go:build !unix

package main

import "os/exec"

// startInGroup leaves Ctrl-C to the console, which passes it to every process that it shows.
func startInGroup(cmd *exec.Cmd) (kill func()) {
	cmd.Cancel = func() error { return nil }
	return func() {}
}
