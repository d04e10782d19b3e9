//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// startInGroup lets a command start in a process group of its own. Ctrl-C in a shell then reaches the demo alone,
// which passes it on once: a second one would have terraform give up without tidying up. The returned function kills
// what is left of the group.
func startInGroup(cmd *exec.Cmd) (kill func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	return func() {
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it fails where nothing is left, as it should be
		}
	}
}
