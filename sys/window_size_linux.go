package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// SetWindowSize tells a terminal how large its window is.
func SetWindowSize(terminal *os.File, width, height uint16) error {
	raw, err := terminal.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	})
	return errors.Join(err, failed)
}
