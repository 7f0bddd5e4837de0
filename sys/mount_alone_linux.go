package sys

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// MountAlone puts a detached mount into a mount namespace of its own, as its root and all there is in it: see
// InMountNamespace. Any kernel can copy it from there, no other mount of the host is kept busy, and it ends when
// the namespace is closed and nothing of the mount is used any more. It is made over folder at, seen by nobody.
func MountAlone(m *os.File, at string) (ns *os.File, err error) {
	err = WithPrivateMount(m, at, func() error {
		made, err := os.Open("/proc/thread-self/ns/mnt")
		if err != nil {
			return err
		}
		if err := alone(at); err != nil {
			made.Close()
			return fmt.Errorf("leave the host's mounts: %w", err)
		}
		ns = made
		return nil
	})
	return ns, err
}

// alone makes folder at the root of the thread's mount namespace and takes everything else out of it.
func alone(at string) error {
	if err := unix.Chdir(at); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	return unix.Unmount(".", unix.MNT_DETACH)
}

// CopyAlone makes a detached copy of what MountAlone has put into a namespace, or of what path leads to inside it.
func CopyAlone(room *os.File, path string, recursive bool) (m *os.File, err error) {
	err = InMountNamespace(room, func() error {
		root, err := os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		defer root.Close()
		found, err := OpenPathInRoot(root, path, true)
		if err != nil {
			return err
		}
		defer found.Close()
		m, err = CopyMount(Borrow(found), "", recursive)
		return err
	})
	return m, err
}
