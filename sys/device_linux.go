package sys

import (
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Device is a device node on this host.
type Device struct {
	// Kind is 'c' or 'b'.
	Kind         rune
	Major, Minor int64
	// Mode holds the permission bits.
	Mode     os.FileMode
	UID, GID uint32
}

// DeviceAt reads the device node at path, following links. What is no device is errdefs.ErrInvalidArgument.
func DeviceAt(path string) (Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Device{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	d := Device{
		Major: int64(unix.Major(uint64(st.Rdev))), Minor: int64(unix.Minor(uint64(st.Rdev))),
		Mode: os.FileMode(st.Mode & 0o777), UID: st.Uid, GID: st.Gid,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		d.Kind = 'c'
	case unix.S_IFBLK:
		d.Kind = 'b'
	default:
		return Device{}, fmt.Errorf("%s is not a device node: %w", path, errdefs.ErrInvalidArgument)
	}
	return d, nil
}
