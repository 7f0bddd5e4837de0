package sys

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Reopen opens what f, found with O_PATH, stands for: that very thing, whatever has its name by now. So a caller looks
// first at what it found, because opening alone can do harm where it is a device. It works on threads that have left
// the host's file system, too.
func Reopen(f *os.File, flag int) (*os.File, error) {
	var opened *os.File
	err := OnOtherThread(func() error {
		fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), flag|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: f.Name(), Err: err}
		}
		opened = os.NewFile(uintptr(fd), f.Name())
		return nil
	})
	return opened, err
}
