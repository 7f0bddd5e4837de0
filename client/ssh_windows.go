package client

import (
	"os/exec"
	"syscall"
)

// apart keeps a console's Ctrl-C from a program: it is for this one, which tells the daemon of it.
func apart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
