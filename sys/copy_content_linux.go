package sys

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// CopyContent makes the empty file dst hold what src, open for reading and size bytes long, holds. Data is shared
// where the file system can, else copied inside the kernel where it can; holes stay holes.
func CopyContent(dst, src FD, size int64) error {
	if size == 0 {
		return nil
	}
	if unix.IoctlFileClone(int(dst), int(src)) == nil {
		return nil
	}
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(src), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // nothing but a hole from here
			break
		}
		if err != nil { // no idea of holes: all is data
			data, err = at, nil
		}
		end, err := unix.Seek(int(src), data, unix.SEEK_HOLE)
		if err != nil || end <= data {
			end = size
		}
		if err := copyRange(dst, src, data, min(end, size)); err != nil {
			return err
		}
		at = end
	}
	return dst.Truncate(size)
}

func copyRange(dst, src FD, from, to int64) error {
	in, out := from, from
	for in < to {
		n, err := unix.CopyFileRange(int(src), &in, int(dst), &out, int(min(to-in, 1<<30)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EBADF):
			return copyPlain(dst, src, in, to)
		case err != nil:
			return pathError("copy", "", err)
		case n == 0:
			return nil // the source became shorter meanwhile
		}
	}
	return nil
}

func copyPlain(dst, src FD, from, to int64) error {
	if _, err := src.Seek(from, io.SeekStart); err != nil {
		return err
	}
	if _, err := dst.Seek(from, io.SeekStart); err != nil {
		return err
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{dst}, io.LimitReader(src, to-from), make([]byte, 256<<10))
	return err
}
