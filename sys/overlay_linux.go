package sys

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

var overlayOptions = [][2]string{{"index", "off"}, {"metacopy", "off"}, {"redirect_dir", "off"}}

// MountOverlay mounts directories on one another, the topmost lower first, and returns the root of the result. The
// mount is in no mount table and ends when the file and all that was opened through it are closed. Without upper
// it is read-only. Directories are never renamed by redirection and files never copied up by halves: what upper holds
// is complete, so that it can be read as a layer. Flags are more options of overlayfs, such as "volatile".
func MountOverlay(lower []string, upper, work string, flags ...string) (*os.File, error) {
	if !stacksOneByOne() {
		return mountOverlayAtOnce(lower, upper, work, flags)
	}
	fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open overlay: %w", err)
	}
	defer unix.Close(fsfd)
	for _, dir := range lower {
		err := unix.FsconfigSetString(fsfd, "lowerdir+", dir)
		if err != nil {
			return nil, fmt.Errorf("overlay layer %s: %w", dir, err)
		}
	}
	// Programs know containers by this name in the mount table.
	options := append([][2]string{{"source", "overlay"}}, overlayOptions...)
	attrs := unix.MOUNT_ATTR_RDONLY
	if upper != "" {
		options = append(options, [2]string{"upperdir", upper}, [2]string{"workdir", work})
		attrs = 0
	}
	for _, o := range options {
		if err := unix.FsconfigSetString(fsfd, o[0], o[1]); err != nil {
			return nil, fmt.Errorf("overlay %s=%s: %w", o[0], o[1], err)
		}
	}
	for _, flag := range flags {
		if err := unix.FsconfigSetFlag(fsfd, flag); err != nil {
			return nil, fmt.Errorf("overlay %s: %w", flag, err)
		}
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return nil, fmt.Errorf("make overlay: %w%s", err, fsMessages(fsfd))
	}
	mfd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return nil, fmt.Errorf("mount overlay: %w", err)
	}
	return os.NewFile(uintptr(mfd), "overlay"), nil
}

// fsMessages reads what the kernel has to say about a failed step, each message led by a semicolon.
func fsMessages(fsfd int) string {
	var all strings.Builder
	buf := make([]byte, 1024)
	for {
		n, err := unix.Read(fsfd, buf)
		if err != nil || n <= 0 {
			return all.String()
		}
		all.WriteString("; " + strings.TrimSpace(string(buf[:n])))
	}
}
