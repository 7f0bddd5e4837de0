package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// MkdirAt makes directory name in dir.
func MkdirAt(dir FD, name string, perm uint32) error {
	return pathError("mkdir", name, unix.Mkdirat(int(dir), name, perm))
}

// SymlinkAt makes link name in dir, holding target as it is.
func SymlinkAt(target string, dir FD, name string) error {
	return pathError("symlink", name, unix.Symlinkat(target, int(dir), name))
}

// LinkAt gives the file name in dir one more name. Links are not followed: a link can have two names, too.
func LinkAt(dir FD, name string, newDir FD, newName string) error {
	return pathError("link", newName, unix.Linkat(int(dir), name, int(newDir), newName, 0))
}

// MknodAt makes a device, fifo or socket; mode holds the kind as stat(2) has it, dev the number as stat(2) has it.
func MknodAt(dir FD, name string, mode uint32, dev uint64) error {
	return pathError("mknod", name, unix.Mknodat(int(dir), name, mode, int(dev)))
}

// DeviceNumber joins a device's two numbers the way stat(2) gives them.
func DeviceNumber(major, minor uint32) uint64 { return unix.Mkdev(major, minor) }

// DeviceNumbers splits a device number of stat(2).
func DeviceNumbers(dev uint64) (major, minor uint32) { return unix.Major(dev), unix.Minor(dev) }

// ReadlinkAt reads link name in dir.
func ReadlinkAt(dir FD, name string) (string, error) {
	buf := make([]byte, 256)
	for {
		n, err := unix.Readlinkat(int(dir), name, buf)
		if err != nil {
			return "", pathError("readlink", name, err)
		}
		if n < len(buf) {
			return string(buf[:n]), nil
		}
		buf = make([]byte, 4*len(buf))
	}
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}
