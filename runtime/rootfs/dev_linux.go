package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

// standardDevices are those the OCI specification promises to every container.
var standardDevices = []specs.LinuxDevice{
	{Path: "/dev/null", Type: "c", Major: 1, Minor: 3}, {Path: "/dev/zero", Type: "c", Major: 1, Minor: 5},
	{Path: "/dev/full", Type: "c", Major: 1, Minor: 7}, {Path: "/dev/random", Type: "c", Major: 1, Minor: 8},
	{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9}, {Path: "/dev/tty", Type: "c", Major: 5, Minor: 0},
}

// deviceLinks are the links every /dev has; all but the last are left alone where something is there already.
var deviceLinks = [][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"},
	{"/proc/kcore", "core"}, {"pts/ptmx", "ptmx"},
}

// makeDevices fills /dev, unless the container has the host's bound there.
func (r *Root) makeDevices() error {
	for _, m := range r.mounts {
		if m.options.bind && path.Clean(m.Destination) == "/dev" {
			return nil
		}
	}
	dev, err := r.target("/dev", true, false)
	if err != nil {
		return fmt.Errorf("/dev: %w", err)
	}
	defer dev.Close()
	for _, d := range r.devices() {
		if err := r.makeDevice(dev, d); err != nil {
			return fmt.Errorf("device %s: %w", d.Path, err)
		}
	}
	for _, l := range deviceLinks {
		err := unix.Symlinkat(l[0], int(dev.Fd()), l[1])
		if errors.Is(err, unix.EEXIST) && l[1] == "ptmx" {
			err = r.replaceLink(dev, l[0], l[1])
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("link /dev/%s: %w", l[1], err)
		}
	}
	return nil
}

// devices lists the standard devices, but for those in whose place the container is to have others, and what it is to have besides.
func (r *Root) devices() []specs.LinuxDevice {
	all := slices.Clone(standardDevices)
	for _, asked := range r.settings.Devices {
		all = slices.DeleteFunc(all, func(d specs.LinuxDevice) bool { return d.Path == path.Clean("/"+asked.Path) })
	}
	return append(all, r.settings.Devices...)
}

// replaceLink puts the container's own terminal multiplexer in place of what an image brings.
func (r *Root) replaceLink(dir *os.File, target, name string) error {
	if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil {
		return err
	}
	return unix.Symlinkat(target, int(dir.Fd()), name)
}

var deviceKinds = map[string]uint32{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}

func (r *Root) makeDevice(dev *os.File, d specs.LinuxDevice) error {
	kind, known := deviceKinds[d.Type]
	if !known {
		return fmt.Errorf("type %q: %w", d.Type, errdefs.ErrInvalidArgument)
	}
	mode := uint32(0o666)
	if d.FileMode != nil {
		mode = uint32(d.FileMode.Perm())
	}
	folder, name := path.Split(path.Clean("/" + d.Path))
	dir := dev
	if folder != "/dev/" {
		var err error
		if dir, err = r.target(folder, true, false); err != nil {
			return err
		}
		defer dir.Close()
	}
	number := unix.Mkdev(uint32(d.Major), uint32(d.Minor))
	if r.settings.Owner != nil && kind != unix.S_IFIFO {
		return r.bindDevice(dir, name, d.Path, kind, number)
	}
	if err := unix.Mknodat(int(dir.Fd()), name, kind|mode, int(number)); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return sameDevice(dir, name, kind, number)
		}
		return err
	}
	if d.UID == nil && d.GID == nil {
		return nil
	}
	uid, gid := -1, -1
	if d.UID != nil {
		uid = int(*d.UID)
	}
	if d.GID != nil {
		gid = int(*d.GID)
	}
	return unix.Fchownat(int(dir.Fd()), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// bindDevice shows the host's own node: no node in a file system of another user namespace can be opened.
func (r *Root) bindDevice(dir *os.File, name, host string, kind uint32, number uint64) error {
	node, err := hostDevice(host, kind, number)
	if err != nil {
		return err
	}
	defer node.Close()
	if err := setAttributes(node, false, unix.MountAttr{Propagation: unix.MS_PRIVATE}); err != nil {
		return err
	}
	err = unix.Mknodat(int(dir.Fd()), name, unix.S_IFREG|0o644, 0)
	if errors.Is(err, unix.EEXIST) && !isStub(dir, name) {
		return sameDevice(dir, name, kind, number)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return unix.MoveMount(int(node.Fd()), "", int(dir.Fd()), name, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// hostDevice copies the mount of the host's node of a device: where the container has it, or where the kernel says.
func hostDevice(at string, kind uint32, number uint64) (*os.File, error) {
	places := []string{at}
	class := map[uint32]string{unix.S_IFCHR: "char", unix.S_IFBLK: "block"}[kind]
	if link, err := os.ReadFile(fmt.Sprintf("/sys/dev/%s/%d:%d/uevent", class, unix.Major(number), unix.Minor(number))); err == nil {
		for line := range strings.Lines(string(link)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok {
				places = append(places, path.Join("/dev", name))
			}
		}
	}
	for _, place := range places {
		node, err := sys.CopyMount(sys.WorkingDir, place, false)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(node.Fd()), &st); err == nil && st.Mode&unix.S_IFMT == kind && st.Rdev == number {
			return node, nil
		}
		node.Close()
	}
	return nil, fmt.Errorf("the host has no node of it: %w", unix.ENODEV)
}

// isStub tells whether name is an empty file of dir's own file system, made to mount a device on.
func isStub(dir *os.File, name string) bool {
	var above, st unix.Stat_t
	err := errors.Join(unix.Fstat(int(dir.Fd()), &above), unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW))
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0 && st.Dev == above.Dev
}

// sameDevice accepts a node that is there already when it is the right one. Anything but a device is left, too: a
// file the user bound over the node.
func sameDevice(dir *os.File, name string, kind uint32, number uint64) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == kind && st.Rdev != number {
		return fmt.Errorf("another device is there already: %w", unix.EEXIST)
	}
	return nil
}

// Terminal makes a terminal in the container's own devpts: master for the runtime, slave for the process. With
// console it also appears as /dev/console.
func (r *Root) Terminal(console bool) (master, slave *os.File, err error) {
	master, slave, err = OpenTerminal(r.dir)
	if err != nil || !console {
		return master, slave, err
	}
	if err := r.bindConsole(slave); err != nil {
		master.Close()
		slave.Close()
		return nil, nil, fmt.Errorf("/dev/console: %w", err)
	}
	return master, slave, nil
}

func (r *Root) bindConsole(slave *os.File) error {
	target, err := r.target("/dev/console", false, false)
	if err != nil {
		return err
	}
	defer target.Close()
	source, err := sys.CopyMount(sys.Borrow(slave), "", false)
	if err != nil {
		return err
	}
	defer source.Close()
	return sys.AttachMount(source, target)
}

// OpenTerminal makes a terminal in the devpts that is mounted in root. Reads of master do not block a thread.
func OpenTerminal(root *os.File) (master, slave *os.File, err error) {
	master, err = openMultiplexer(root)
	if err != nil {
		return nil, nil, fmt.Errorf("make terminal: %w", err)
	}
	raw, err := master.SyscallConn()
	if err == nil {
		failed := raw.Control(func(fd uintptr) { slave, err = openSlave(int(fd)) })
		err = errors.Join(err, failed)
	}
	if err != nil {
		master.Close()
		return nil, nil, err
	}
	return master, slave, nil
}

// openMultiplexer opens dev/pts/ptmx once it is known to be one: whoever controls the root may have put another device
// in its place, and this process may open any.
func openMultiplexer(root *os.File) (*os.File, error) {
	found, err := sys.OpenPathInRoot(root, "dev/pts/ptmx", true)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Fstatfs(int(found.Fd()), &fs), unix.Fstat(int(found.Fd()), &st)); err != nil {
		return nil, err
	}
	if fs.Type != unix.DEVPTS_SUPER_MAGIC || st.Rdev != unix.Mkdev(5, 2) {
		return nil, fmt.Errorf("/dev/pts/ptmx is no terminal multiplexer: %w", unix.ENODEV)
	}
	return sys.Reopen(found, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK)
}

func openSlave(fd int) (*os.File, error) {
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlock terminal: %w", err)
	}
	// By the master, not by name: no process inside can put something else in the way.
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, fmt.Errorf("open terminal: %w", errno)
	}
	return os.NewFile(peer, "terminal"), nil
}
