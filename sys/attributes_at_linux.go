package sys

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// Timespec is a time as the kernel keeps it: seconds, and nanoseconds from 0 to 999,999,999 that count forward.
type Timespec = unix.Timespec

// ChownAt gives name in dir to a user and group, without following a link; the empty name is dir itself.
func ChownAt(dir FD, name string, uid, gid int) error {
	return pathError("chown", name, unix.Fchownat(int(dir), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH))
}

// ChmodAt sets the permission bits (set-id and sticky included) of name in dir, without following a link, which
// has none of its own; the empty name is dir itself, also when it is open as a mere place.
func ChmodAt(dir FD, name string, perm uint32) error {
	err := unix.Fchmodat(int(dir), name, perm, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return pathError("chmod", name, err)
	}
	fd := int(dir) // before Linux 6.6 there is no such call, but a way around through /proc
	if name != "" {
		if fd, err = unix.Openat(int(dir), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err != nil {
			return pathError("chmod", name, err)
		}
		defer unix.Close(fd)
	}
	return pathError("chmod", name, unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), perm))
}

// TimesAt sets the times of name in dir, without following a link; the empty name is dir itself.
func TimesAt(dir FD, name string, atime, mtime Timespec) error {
	ts := [2]unix.Timespec{atime, mtime}
	return pathError("set times of", name, unix.UtimesNanoAt(int(dir), name, ts[:], unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH))
}

// Chown gives the open file to a user and group.
func (d FD) Chown(uid, gid int) error { return unix.Fchown(int(d), uid, gid) }

// Chmod sets the open file's permission bits, set-id and sticky included.
func (d FD) Chmod(perm uint32) error { return unix.Fchmod(int(d), perm) }
