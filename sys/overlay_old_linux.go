package sys

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// stacksOneByOne tells whether overlayfs takes each layer as an option of its own (Linux 6.7). Before, the kernel collects
// options for it, of 256 bytes at most each, and takes any without looking.
var stacksOneByOne = sync.OnceValue(func() bool {
	fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return true
	}
	defer unix.Close(fsfd)
	return unix.FsconfigSetString(fsfd, "lowerdir+", "/") == nil && unix.FsconfigSetFlag(fsfd, "looked-at") != nil
})

// mountOverlayAtOnce is MountOverlay for kernels that want all options at once, by mount(2), which mounts at a place only: it
// is one in a mount namespace that nobody else sees, and the mount is taken from there. A thread that is in such a namespace
// already, where its layers may be and as a user that was chosen for it, stays there.
func mountOverlayAtOnce(lower []string, upper, work string, flags []string) (m *os.File, err error) {
	own, err := ownMountNamespace()
	if err != nil {
		return nil, fmt.Errorf("mount overlay: %w", err)
	}
	mount := func() error {
		m, err = mountAndTake(lower, upper, work, flags)
		return err
	}
	if own {
		return m, mount()
	}
	err = WithPrivateMount(nil, "", mount)
	return m, err
}

// ownMountNamespace tells whether this thread sees other mounts than its process.
func ownMountNamespace() (bool, error) {
	var thread, process unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/mnt", &thread); err != nil {
		return false, err
	}
	if err := unix.Stat("/proc/self/ns/mnt", &process); err != nil {
		return false, err
	}
	return thread.Ino != process.Ino, nil
}

// mountAndTake mounts over the topmost layer, and takes the mount from there. Options take a page at most, and colons and commas
// in a path would end it: layers are named by the numbers of open files, as seen from the folder of those.
func mountAndTake(lower []string, upper, work string, flags []string) (*os.File, error) {
	var opened []int
	defer func() {
		for _, fd := range opened {
			unix.Close(fd)
		}
	}()
	open := func(dir string) (string, error) {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", fmt.Errorf("overlay layer %s: %w", dir, err)
		}
		opened = append(opened, fd)
		return strconv.Itoa(fd), nil
	}
	names := make([]string, len(lower))
	for i, dir := range lower {
		var err error
		if names[i], err = open(dir); err != nil {
			return nil, err
		}
	}
	options := []string{"lowerdir=" + strings.Join(names, ":")}
	readOnly := uintptr(unix.MS_RDONLY)
	if upper != "" {
		readOnly = 0
		for _, dir := range [][2]string{{"upperdir", upper}, {"workdir", work}} {
			name, err := open(dir[1])
			if err != nil {
				return nil, err
			}
			options = append(options, dir[0]+"="+name)
		}
	}
	for _, o := range overlayOptions {
		options = append(options, o[0]+"="+o[1])
	}
	before, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("mount overlay: %w", err)
	}
	opened = append(opened, before)
	if err := unix.Chdir("/proc/self/fd"); err != nil {
		return nil, fmt.Errorf("mount overlay: %w", err)
	}
	defer unix.Fchdir(before)
	if err := unix.Mount("overlay", lower[0], "overlay", readOnly, strings.Join(append(options, flags...), ",")); err != nil {
		return nil, fmt.Errorf("make overlay of %d layers: %w", len(lower), err)
	}
	defer unix.Unmount(lower[0], unix.MNT_DETACH)
	return CopyMount(WorkingDir, lower[0], false)
}
