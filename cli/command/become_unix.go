//go:build unix

package command

import (
	"os"
	"syscall"
)

// become replaces this program by another, which is told that it is called name: it has the terminal, gets the signals and gives the exit code.
func become(path, name string, args []string) error {
	return &os.PathError{Op: "exec", Path: path, Err: syscall.Exec(path, append([]string{name}, args...), os.Environ())}
}
