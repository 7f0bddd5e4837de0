package sys

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// WithPrivateMount runs f on a thread that sees root, a detached mount as MountOverlay gives it, at a folder. Nothing
// else on the host sees it there, but the programs f starts do. A nil root mounts nothing.
func WithPrivateMount(root *os.File, at string, f func() error) error {
	return OnOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return fmt.Errorf("keep mounts private: %w", err)
		}
		if root != nil {
			err := unix.MoveMount(int(root.Fd()), "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
			if err != nil {
				return fmt.Errorf("mount root at %s: %w", at, err)
			}
		}
		return f()
	})
}
