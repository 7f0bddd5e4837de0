package rootfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

// Protect hides and write-protects the paths the settings name; a path that does not exist needs no protection.
// What hides a path comes from the host, not from the container's own /dev, which may hold anything.
func (r *Root) Protect() error {
	for _, name := range r.settings.ReadOnlys {
		if err := r.protect(name, r.readOnly); err != nil {
			return fmt.Errorf("make %s read-only: %w", name, err)
		}
	}
	var empty *stamp
	hide := func(target *os.File) error {
		var st unix.Stat_t
		if err := unix.Fstat(int(target.Fd()), &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return r.null.on(target)
		}
		if empty == nil {
			f, err := makeFilesystem("tmpfs", "tmpfs", []parameter{{key: "size", value: "0"}, {key: "nr_inodes", value: "1"}, {key: "mode", value: "755"}},
				unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC})
			if err != nil {
				return err
			}
			empty = &stamp{fd: f}
		}
		return empty.on(target)
	}
	defer func() {
		if empty != nil {
			empty.fd.Close()
		}
	}()
	for _, name := range r.settings.Masked {
		if err := r.protect(name, hide); err != nil {
			return fmt.Errorf("mask %s: %w", name, err)
		}
	}
	return nil
}

func (r *Root) protect(name string, how func(*os.File) error) error {
	target, err := r.find(name, false)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return nil
	case err != nil:
		return err
	}
	defer target.Close()
	return how(target)
}

func (r *Root) readOnly(target *os.File) error {
	tree, err := sys.CopyMount(sys.Borrow(target), "", true)
	if err != nil {
		return err
	}
	defer tree.Close()
	if err := setAttributes(tree, true, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return err
	}
	return sys.AttachMount(tree, target)
}
