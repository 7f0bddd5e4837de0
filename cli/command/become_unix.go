//go:build unix

package command

import (
	"os"
	"syscall"
)

// become replaces this program by another: it has the terminal, gets the signals and gives the exit code.
func become(path string, args []string) error {
	return &os.PathError{Op: "exec", Path: path, Err: syscall.Exec(path, append([]string{path}, args...), os.Environ())}
}
