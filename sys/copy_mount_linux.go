package sys

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// CopyMount makes a detached copy of the mount that path in dir shows, from there downwards; with those mounted on it
// when recursive. The empty path is dir itself. Kernels before 6.15 copy only what is attached in the mount
// namespace of the calling thread. The error is the kernel's bare one, here and below.
func CopyMount(dir FD, path string, recursive bool) (*os.File, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	fd, err := unix.OpenTree(int(dir), path, flags)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// WorkingDir stands for the directory that relative paths start from, where an FD is asked for.
const WorkingDir FD = unix.AT_FDCWD

// TameMount makes a detached mount, with all below it, fit to be looked at by a mighty process: nothing mounted there
// later shows up elsewhere, and no device in it can be opened, whoever may have put it there.
func TameMount(m *os.File) error {
	const safe = unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	attr := unix.MountAttr{Attr_set: safe, Propagation: unix.MS_PRIVATE}
	return unix.MountSetattr(int(m.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr)
}

// ForbidWriting makes a mount read-only, and those on it too when recursive.
func ForbidWriting(m *os.File, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return unix.MountSetattr(int(m.Fd()), "", flags, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// MapMount shows the files of a detached mount, and of those below it when recursive, as belonging to others, by the mappings
// of a user namespace. A file system that cannot do so is EINVAL, with words that say so.
func MapMount(m, users *os.File, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	err := unix.MountSetattr(int(m.Fd()), "", flags, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(users.Fd())})
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("map users and groups: this kernel cannot do it for the file system below (%w)", err)
	}
	if err != nil {
		return fmt.Errorf("map users and groups: %w", err)
	}
	return nil
}

// AttachMount puts a detached mount over target, which may be found by OpenPathInRoot.
func AttachMount(m, target *os.File) error {
	return unix.MoveMount(int(m.Fd()), "", int(target.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// InMountNamespace runs f on a thread of its own in mount namespace ns, at that namespace's root.
func InMountNamespace(ns *os.File, f func() error) error {
	return OnOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("leave the process's root: %w", err)
		}
		// Others may close it meanwhile.
		raw, err := ns.SyscallConn()
		if err != nil {
			return fmt.Errorf("enter mount namespace: %w", err)
		}
		if failed := raw.Control(func(fd uintptr) { err = unix.Setns(int(fd), unix.CLONE_NEWNS) }); failed != nil {
			err = failed
		}
		if err != nil {
			return fmt.Errorf("enter mount namespace: %w", err)
		}
		return f()
	})
}

// Shelve puts a detached mount into a mount namespace of its own, over folder at, where every kernel can copy it: see
// InMountNamespace. The mount ends when the namespace and everything of the mount is closed.
func Shelve(m *os.File, at string) (ns *os.File, err error) {
	err = WithPrivateMount(m, at, func() error {
		ns, err = os.Open("/proc/thread-self/ns/mnt")
		return err
	})
	return ns, err
}

// DetachMount takes an attached mount, with all below it, out of the calling thread's mount namespace. What is open of
// it stays usable.
func DetachMount(m *os.File) error {
	return unix.Unmount("/proc/self/fd/"+strconv.Itoa(int(m.Fd())), unix.MNT_DETACH)
}
