package sys

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// FD is an open file descriptor that whoever opened it closes by hand: for loops over many files, where an os.File
// for each would cost as much as the file itself.
type FD int

// NoFD is no descriptor.
const NoFD FD = -1

// Borrow gives the descriptor of f, which stays f's: f must live as long as it is used, so who has no other use of f
// after it ends with runtime.KeepAlive(f).
func Borrow(f *os.File) FD { return FD(f.Fd()) }

// File turns the descriptor into an os.File, which closes it from now on.
func (d FD) File(name string) *os.File { return os.NewFile(uintptr(d), name) }

// DuplicateFrom is another descriptor of the same open file, numbered least or above. Other than Borrow it leaves f's mode alone.
func DuplicateFrom(f *os.File, least int) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, failed := -1, error(nil)
	err = raw.Control(func(old uintptr) { fd, failed = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, least) })
	if err := errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("duplicate %s: %w", f.Name(), err)
	}
	return FD(fd).File(f.Name()), nil
}

// Close closes the descriptor; NoFD is no error.
func (d FD) Close() error {
	if d < 0 {
		return nil
	}
	return unix.Close(int(d))
}

// Duplicate gives another descriptor of the same open file.
func (d FD) Duplicate() (FD, error) {
	fd, err := unix.FcntlInt(uintptr(d), unix.F_DUPFD_CLOEXEC, 3)
	return FD(fd), err
}

// Write writes all of p or says why not.
func (d FD) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Write(int(d), p[done:])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return done, err
		case n == 0:
			return done, io.ErrUnexpectedEOF
		}
		done += max(n, 0)
	}
	return done, nil
}

// Read reads what is there, as io.Reader says.
func (d FD) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Read(int(d), p)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Seek moves to a place in the file, as io.Seeker says.
func (d FD) Seek(offset int64, whence int) (int64, error) { return unix.Seek(int(d), offset, whence) }

// Truncate makes the file size bytes long; what is new is a hole.
func (d FD) Truncate(size int64) error { return unix.Ftruncate(int(d), size) }
