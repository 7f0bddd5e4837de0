package sys

import (
	"errors"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// UnlinkAt removes name in dir, which is no directory.
func UnlinkAt(dir FD, name string) error {
	return pathError("unlink", name, unix.Unlinkat(int(dir), name, 0))
}

// RmdirAt removes the empty directory name in dir.
func RmdirAt(dir FD, name string) error {
	return pathError("rmdir", name, unix.Unlinkat(int(dir), name, unix.AT_REMOVEDIR))
}

// RemoveTreeAt removes name in dir with all below it, following no link. Where something is mounted it fails (see
// IsMountPoint), and what is mounted stays as it is. What is absent is no error. Trees may be deeper than descriptors or path
// names reach.
func RemoveTreeAt(dir FD, name string) error {
	err := unix.Unlinkat(int(dir), name, 0)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM):
		return pathError("unlink", name, err)
	}
	if err := RmdirAt(dir, name); err == nil || IsMountPoint(err) {
		return err
	}
	top, err := OpenListAt(dir, name)
	if err != nil {
		return err
	}
	defer top.Close()
	r := remover{top: top}
	for { // directories from too deep down are moved to the top and come up in the next round
		n, err := r.empty(top, 0)
		if err != nil {
			return err
		}
		if n == 0 {
			return RmdirAt(dir, name)
		}
	}
}

// IsMountPoint tells that an error of removing means: something is mounted there.
func IsMountPoint(err error) bool { return errors.Is(err, unix.EBUSY) }

// depthOfRemoval is how many directories deep a removal goes before it moves what it meets to the top.
const depthOfRemoval = 128

type remover struct {
	top   FD
	moved int
}

func (r *remover) empty(dir FD, depth int) (int, error) {
	if _, err := dir.Seek(0, 0); err != nil {
		return 0, err
	}
	entries, err := ReadDirectory(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if err := r.remove(dir, e, depth); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	return len(entries), nil
}

func (r *remover) remove(dir FD, e Entry, depth int) error {
	if !e.Dir {
		err := unix.Unlinkat(int(dir), e.Name, 0)
		if !errors.Is(err, unix.EISDIR) {
			return pathError("unlink", e.Name, err)
		}
	}
	// The kernel looks for a mount before it looks whether the directory is empty; opening would lead into the mount.
	if err := RmdirAt(dir, e.Name); err == nil || IsMountPoint(err) {
		return err
	}
	if depth == depthOfRemoval {
		return r.move(dir, e.Name)
	}
	fd, err := OpenListAt(dir, e.Name)
	if err != nil {
		return err
	}
	_, err = r.empty(fd, depth+1)
	fd.Close()
	if err != nil {
		return err
	}
	return RmdirAt(dir, e.Name)
}

func (r *remover) move(dir FD, name string) error {
	for {
		r.moved++
		err := RenameNoReplaceAt(dir, name, r.top, "."+strconv.Itoa(r.moved))
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}
