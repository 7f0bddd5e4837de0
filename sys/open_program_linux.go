package sys

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenProgram gives a program's file in a detached read-only mount of its own, to be executed by its descriptor: who
// runs in a container and gets hold of the running program, by /proc/PID/exe, cannot write to it.
func OpenProgram(path string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if errors.Is(err, unix.EINVAL) {
		// Kernels before 6.15 copy attached mounts only, and path may lead to one that was made here.
		return openReadOnly(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open program %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		f.Close()
		return nil, fmt.Errorf("protect program %s: %w", path, err)
	}
	return f, nil
}

// openReadOnly opens a file that is in a read-only mount already.
func openReadOnly(path string) (*os.File, error) {
	f, err := os.OpenFile(path, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	if !inReadOnlyMount(f) {
		f.Close()
		return nil, fmt.Errorf("open program %s: %w", path, unix.EINVAL)
	}
	return f, nil
}

func inReadOnlyMount(f *os.File) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &st) == nil && st.Flags&unix.ST_RDONLY != 0
}

// ProtectProgram starts the calling program again from a read-only mount, unless it runs from one: what it becomes in
// a container then cannot be used to write to its file on the host. It must be called before anything else is done.
func ProtectProgram() error {
	const self = "/proc/self/exe"
	running, err := os.OpenFile(self, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer running.Close()
	if inReadOnlyMount(running) {
		return nil
	}
	program, err := OpenProgram(self)
	if err != nil {
		return err
	}
	defer program.Close()
	if err := unix.Exec(fmt.Sprintf("/proc/self/fd/%d", program.Fd()), os.Args, os.Environ()); err != nil {
		return fmt.Errorf("start %s from a read-only mount: %w", os.Args[0], err)
	}
	return nil
}
