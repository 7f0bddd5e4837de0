//go:build unix

package client

import (
	"os/exec"
	"syscall"
)

// apart gives a program a session of its own: the terminal's Ctrl-C is for this program, which tells the daemon of it.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
