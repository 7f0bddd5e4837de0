package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

// setAttributes changes a mount, and those below it where recursive.
func setAttributes(f *os.File, recursive bool, m unix.MountAttr) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return unix.MountSetattr(int(f.Fd()), "", flags, &m)
}

// openSource copies what a bind shows while the host's own mounts are in sight, where only that will do: a mount that
// shall share further mounts with the host, one from elsewhere, the host's root (the container's will be attached to it,
// and a copy made then has the container in it), or any for a namespace that does not own the host's. All others wait until
// it is their turn.
func (r *Root) openSource(m *mount) error {
	m.host = m.Source
	if !filepath.IsAbs(m.host) {
		m.host = filepath.Join(r.settings.Bundle, m.host)
	}
	var err error
	switch pid, path, other := otherRoot(m.host); {
	case r.settings.Sources[m.Source] != nil:
		m.source, err = duplicate(r.settings.Sources[m.Source])
	case r.settings.Rooms[m.Source] != nil:
		m.source, err = openRoom(r.settings.Rooms[m.Source], m.options)
	case other:
		m.source, err = openElsewhere(pid, path, m.options.recursive)
	case m.options.subpath != "":
		m.source, err = openBelow(m.host, m.options.subpath, m.options.recursive)
	case r.settings.Owner != nil || m.options.shares() || isHostRoot(m.host):
		m.source, err = m.copyNow()
	}
	if err == nil {
		err = r.openUsers(m)
	}
	if err != nil {
		return m.failed(err)
	}
	return nil
}

// copyNow copies what a bind shows. It hears of the host's further mounts, as a copy does that is made later, but the host
// not of its own unless that is asked for.
func (m *mount) copyNow() (*os.File, error) {
	source, err := sys.CopyMount(sys.WorkingDir, m.host, m.options.recursive)
	if err != nil || m.options.shares() {
		return source, err
	}
	if err := setAttributes(source, true, unix.MountAttr{Propagation: unix.MS_SLAVE}); err != nil {
		source.Close()
		return nil, fmt.Errorf("cut mount propagation to the host: %w", err)
	}
	return source, nil
}

// isHostRoot tells whether path is the root, by whatever name.
func isHostRoot(path string) bool {
	found, err := os.Stat(path)
	if err != nil {
		return false
	}
	root, err := os.Stat("/")
	return err == nil && os.SameFile(found, root)
}

// again replaces a mount by a copy: the kernel lists mounts in the order in which they were made. Before Linux 6.15,
// which copies what is attached only, it lists them as it likes.
func (m *mount) again() {
	if again, err := sys.CopyMount(sys.Borrow(m.source), "", m.options.recursive); err == nil {
		closeFile(&m.source)
		m.source = again
	}
}

// finish opens a bind that has waited and gives it its attributes.
func (r *Root) finish(m *mount) error {
	switch {
	case m.source == nil:
		var err error
		if m.source, err = sys.CopyMount(sys.WorkingDir, m.host, m.options.recursive); err != nil {
			return m.failed(err)
		}
	case r.settings.Sources[m.Source] == nil:
		m.again()
	}
	if err := m.mapIDs(); err != nil {
		return m.failed(err)
	}
	for _, p := range m.options.propagations {
		if err := setAttributes(m.source, p.recursive, unix.MountAttr{Propagation: p.kind}); err != nil {
			return m.failed(fmt.Errorf("set propagation: %w", err))
		}
	}
	for _, a := range []struct {
		attr      unix.MountAttr
		recursive bool
	}{{m.options.own, false}, {m.options.below, true}} {
		if isZero(a.attr) {
			continue
		}
		if err := setAttributes(m.source, a.recursive, a.attr); err != nil {
			return m.failed(fmt.Errorf("set attributes: %w", err))
		}
	}
	return nil
}

// openUsers opens the user namespace by which a bind's files shall belong to others.
func (r *Root) openUsers(m *mount) (err error) {
	if !m.options.mapped && len(m.UIDMappings)+len(m.GIDMappings) == 0 {
		return nil
	}
	if (len(m.UIDMappings) == 0) != (len(m.GIDMappings) == 0) {
		return fmt.Errorf("mappings of users need mappings of groups, and the other way round: %w", unix.EINVAL)
	}
	m.users, err = r.settings.IDMap(m.UIDMappings, m.GIDMappings)
	return err
}

// mapIDs shows a bind's files as belonging to others.
func (m *mount) mapIDs() error {
	if m.users == nil {
		return nil
	}
	err := sys.MapMount(m.source, m.users, m.options.mappedBelow)
	if m.options.mayMap && errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// duplicate is another descriptor of the same open file, for a mount that the caller keeps.
func duplicate(f *os.File) (*os.File, error) {
	fd, err := sys.Borrow(f).Duplicate()
	if err != nil {
		return nil, err
	}
	return fd.File(f.Name()), nil
}

func (m *mount) failed(err error) error {
	return fmt.Errorf("error mounting %q to rootfs at %q: %w", m.Source, m.Destination, err)
}

// otherRoot splits /proc/PID/root/PATH: a source inside another container.
func otherRoot(source string) (pid, path string, ok bool) {
	rest, ok := strings.CutPrefix(source, "/proc/")
	if !ok {
		return "", "", false
	}
	pid, rest, ok = strings.Cut(rest, "/")
	if !ok || strings.Trim(pid, "0123456789") != "" {
		return "", "", false
	}
	path, ok = strings.CutPrefix(rest, "root/")
	return pid, "/" + path, ok
}

// openElsewhere copies a mount of another mount namespace, which can only be done from inside it.
func openElsewhere(pid, path string, recursive bool) (*os.File, error) {
	ns, err := os.Open("/proc/" + pid + "/ns/mnt")
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	var tree *os.File
	err = sys.InMountNamespace(ns, func() error {
		tree, err = sys.CopyMount(sys.WorkingDir, path, recursive)
		return err
	})
	return tree, err
}

// openRoom copies what a mount namespace has as its root, or the part of it that is asked for.
func openRoom(room *os.File, o options) (*os.File, error) {
	tree, err := sys.CopyAlone(room, o.subpath, o.recursive)
	if err != nil && o.subpath != "" {
		return nil, fmt.Errorf("cannot access path %s: %w", o.subpath, err)
	}
	return tree, err
}

// openBelow copies the part of source that path leads to inside it. Other containers may be changing the links there:
// what was found is what is copied, by whatever name.
func openBelow(source, path string, recursive bool) (*os.File, error) {
	root, err := os.OpenFile(source, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	found, err := sys.OpenPathInRoot(root, path, true)
	if err != nil {
		return nil, fmt.Errorf("cannot access path %s: %w", filepath.Join(source, path), err)
	}
	defer found.Close()
	return sys.CopyMount(sys.Borrow(found), "", recursive)
}

// layersOf are the layers among the parameters of an overlay, and whether there is nothing else.
func layersOf(data []parameter) (layers []string, alone bool) {
	for _, d := range data {
		if d.key == "lowerdir+" {
			layers = append(layers, d.value)
		}
	}
	return layers, len(layers) == len(data)
}

// makeFilesystem mounts a file system that is no bind, detached.
func makeFilesystem(kind, source string, data []parameter, attr unix.MountAttr) (*os.File, error) {
	if layers, alone := layersOf(data); kind == "overlay" && alone && len(layers) > 0 { // which not every kernel takes one by one
		f, err := sys.MountOverlay(layers, "", "")
		if err != nil {
			return nil, err
		}
		if err := setAttributes(f, false, attr); err != nil {
			f.Close()
			return nil, fmt.Errorf("set attributes: %w", err)
		}
		return f, nil
	}
	ctx, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open file system %s: %w", kind, err)
	}
	defer unix.Close(ctx)
	if source != "" {
		data = append([]parameter{{key: "source", value: source}}, data...)
	}
	for _, d := range data {
		if d.flag {
			err = unix.FsconfigSetFlag(ctx, d.key)
		} else {
			err = unix.FsconfigSetString(ctx, d.key, d.value)
		}
		if err != nil {
			return nil, fmt.Errorf("option %q of file system %s: %w%s", d.key, kind, err, explanation(ctx))
		}
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return nil, fmt.Errorf("make file system %s: %w%s", kind, err, explanation(ctx))
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, int(attr.Attr_set))
	if err != nil {
		return nil, fmt.Errorf("mount file system %s: %w%s", kind, err, explanation(ctx))
	}
	return os.NewFile(uintptr(fd), kind), nil
}

// explanation is what the kernel wrote about a failed step.
func explanation(ctx int) string {
	var all strings.Builder
	b := make([]byte, 1024)
	for {
		n, err := unix.Read(ctx, b)
		if err != nil || n == 0 {
			return all.String()
		}
		all.WriteString("; " + strings.TrimSpace(string(b[:n])))
	}
}

// put makes a mount and attaches it to its place in the root.
func (r *Root) put(m *mount) error {
	if m.Type == "cgroup" && !m.options.bind {
		return r.putCgroup(m)
	}
	defer closeFile(&m.source)
	if m.options.bind {
		if err := r.finish(m); err != nil {
			return err
		}
	} else {
		if err := r.make(m); err != nil {
			return m.failed(err)
		}
		if err := m.narrow(); err != nil {
			return m.failed(err)
		}
		// The namespace of the queues is made before its maker is the container's root.
		if o := r.settings.Owner; o != nil && m.Type == "mqueue" && m.inside {
			if err := unix.Fchownat(int(m.source.Fd()), "", int(o.UID), int(o.GID), unix.AT_EMPTY_PATH); err != nil {
				return m.failed(err)
			}
		}
	}
	if m.options.copyUp && !m.options.bind {
		if err := r.copyUp(m); err != nil {
			return m.failed(fmt.Errorf("copy what is there: %w", err))
		}
	}
	return r.attach(m)
}

// make makes a file system that the container's first process has not.
func (r *Root) make(m *mount) (err error) {
	if m.source != nil {
		if m.after {
			m.again()
		}
		return nil
	}
	if m.options.mapped { // layers, see parseOptions
		layers, _ := layersOf(m.options.data)
		if err := r.mapLayers(layers); err != nil {
			return err
		}
	}
	attr := m.options.own
	attr.Attr_set |= m.options.below.Attr_set
	m.source, err = makeFilesystem(m.Type, m.Source, m.options.data, attr)
	return err
}

// narrow has a file system show a part of itself, where that was asked for. It is not attached yet, and copied only since
// Linux 6.15: before, where nobody else sees it attached.
func (m *mount) narrow() error {
	if m.options.subpath == "" {
		return nil
	}
	found, err := sys.OpenPathInRoot(m.source, m.options.subpath, true)
	if err != nil {
		return fmt.Errorf("cannot access path %s: %w", m.options.subpath, err)
	}
	defer found.Close()
	part, err := sys.CopyMount(sys.Borrow(found), "", false)
	if errors.Is(err, unix.EINVAL) {
		err = sys.WithPrivateMount(m.source, "/", func() (err error) {
			part, err = sys.CopyMount(sys.Borrow(found), "", false)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("show %s alone: %w", m.options.subpath, err)
	}
	m.source.Close()
	m.source = part
	return nil
}

// attach moves a finished mount to its place.
func (r *Root) attach(m *mount) error {
	if err := m.checkPlace(); err != nil {
		return m.failed(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(m.source.Fd()), &st); err != nil {
		return m.failed(err)
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	target, err := r.target(m.Destination, isDir, m.Type == "proc" || m.Type == "sysfs")
	if err != nil {
		return m.failed(err)
	}
	defer target.Close()
	if err := m.checkProc(target); err != nil {
		return m.failed(err)
	}
	if err := sys.AttachMount(m.source, target); err != nil {
		return m.failed(err)
	}
	return nil
}

// stamp is one mount shown at many places. The first place gets the mount itself and the others copies of it:
// kernels before 6.15 copy attached mounts only.
type stamp struct {
	fd   *os.File
	used bool
}

func (s *stamp) on(target *os.File) error {
	if !s.used {
		s.used = true
		return sys.AttachMount(s.fd, target)
	}
	again, err := sys.CopyMount(sys.Borrow(s.fd), "", false)
	if err != nil {
		return err
	}
	defer again.Close()
	return sys.AttachMount(again, target)
}
