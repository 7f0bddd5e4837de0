package sys

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ReadPipe makes a pipe for a child process to write into. Our end waits in Go's poller, theirs blocks as programs
// expect it. size is how much the pipe holds, as far as the kernel allows.
func ReadPipe(size int) (ours, theirs *os.File, err error) {
	fds := make([]int, 2)
	if err := unix.Pipe2(fds, unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("make pipe: %w", err)
	}
	return pipeEnds(fds[0], fds[1], size)
}

// WritePipe makes a pipe for a child process to read from, otherwise like ReadPipe.
func WritePipe(size int) (ours, theirs *os.File, err error) {
	fds := make([]int, 2)
	if err := unix.Pipe2(fds, unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("make pipe: %w", err)
	}
	return pipeEnds(fds[1], fds[0], size)
}

func pipeEnds(ours, theirs, size int) (*os.File, *os.File, error) {
	_, _ = unix.FcntlInt(uintptr(ours), unix.F_SETPIPE_SZ, size) // the usual size will do
	if err := unix.SetNonblock(ours, true); err != nil {
		_, _ = unix.Close(ours), unix.Close(theirs)
		return nil, nil, fmt.Errorf("make pipe: %w", err)
	}
	return os.NewFile(uintptr(ours), "pipe"), os.NewFile(uintptr(theirs), "pipe"), nil
}

// Pollable gives a second descriptor of an open file, a terminal for instance, that waits in Go's poller and so can be
// closed and given deadlines while it waits.
func Pollable(file *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", file.Name(), err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("duplicate %s: %w", file.Name(), err)
	}
	return os.NewFile(uintptr(fd), file.Name()), nil
}

// ErrNothing is ReadNow's answer when a read would have to wait.
var ErrNothing = errors.New("nothing to read now")

// ReadNow reads what is there and never waits, whatever deadline the file has. The file must be pollable.
func ReadNow(file *os.File, p []byte) (int, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var failed error
	err = raw.Control(func(fd uintptr) {
		for {
			n, failed = unix.Read(int(fd), p)
			if failed != unix.EINTR {
				return
			}
		}
	})
	switch {
	case err != nil:
		return 0, err
	case failed == unix.EAGAIN:
		return 0, ErrNothing
	case failed != nil:
		return 0, failed
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
