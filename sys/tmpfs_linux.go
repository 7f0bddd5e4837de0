package sys

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// MountMemory makes a file system that exists in memory only, with options in the words of tmpfs ("size", "mode"). It is
// in no mount table and ends when it is closed, and all that was copied from it or opened through it.
func MountMemory(options map[string]string) (*os.File, error) {
	fsfd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open tmpfs: %w", err)
	}
	defer unix.Close(fsfd)
	for key, value := range options {
		if err := unix.FsconfigSetString(fsfd, key, value); err != nil {
			return nil, fmt.Errorf("tmpfs %s=%s: %w%s", key, value, err, fsMessages(fsfd))
		}
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return nil, fmt.Errorf("make tmpfs: %w%s", err, fsMessages(fsfd))
	}
	attributes := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	mfd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return nil, fmt.Errorf("mount tmpfs: %w", err)
	}
	return os.NewFile(uintptr(mfd), "tmpfs"), nil
}

// CopyBelow makes a detached copy of the mount m, which is detached as well, from the file or directory called name in it
// downwards. Where the kernel copies nothing detached, m is attached for a moment over folder at, seen by nobody else, and
// has to be closed afterwards.
func CopyBelow(m *os.File, name, at string) (c *os.File, err error) {
	from, err := OpenPathInRoot(m, name, false)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	if c, err = CopyMount(Borrow(from), "", false); err == nil {
		return c, nil
	}
	failed := WithPrivateMount(m, at, func() error {
		c, err = CopyMount(Borrow(from), "", false)
		return err
	})
	if failed != nil {
		return nil, failed
	}
	return c, nil
}
