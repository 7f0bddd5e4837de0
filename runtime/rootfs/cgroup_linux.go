package rootfs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

// putCgroup shows the container its control groups: the unified hierarchy as one file system, or a folder with one
// file system for each older hierarchy. Inside a cgroup namespace they are mounted anew, and the container's group
// is their root; else the container's own groups are bound.
func (r *Root) putCgroup(m *mount) error {
	hs := r.hierarchies
	if len(hs) == 0 {
		return nil
	}
	if len(hs) == 1 && hs[0].Name == "" {
		return r.putUnified(m, hs[0])
	}
	folder, err := makeFilesystem("tmpfs", "tmpfs", []parameter{{key: "mode", value: "755"}, {key: "size", value: "64k"}},
		unix.MountAttr{Attr_set: m.options.own.Attr_set &^ unix.MOUNT_ATTR_RDONLY})
	if err != nil {
		return m.failed(err)
	}
	defer folder.Close()
	for _, h := range hs {
		if err := unix.Mkdirat(int(folder.Fd()), h.Name, 0o755); err != nil {
			return m.failed(err)
		}
		if err := linkControllers(folder, h.Name); err != nil {
			return m.failed(err)
		}
	}
	m.source = folder
	if err := r.attach(m); err != nil {
		return err
	}
	for _, h := range hs {
		if err := r.putHierarchy(m, folder, h); err != nil {
			return m.failed(fmt.Errorf("hierarchy %s: %w", h.Name, err))
		}
	}
	if m.options.own.Attr_set&unix.MOUNT_ATTR_RDONLY == 0 {
		return nil
	}
	if err := setAttributes(folder, false, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return m.failed(err)
	}
	return nil
}

// linkControllers gives controllers that share a hierarchy their own names, too: cpu -> cpu,cpuacct.
func linkControllers(folder *os.File, name string) error {
	names := strings.Split(name, ",")
	if len(names) < 2 {
		return nil
	}
	for _, n := range names {
		if err := unix.Symlinkat(name, int(folder.Fd()), n); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return nil
}

func (r *Root) putHierarchy(m *mount, folder *os.File, h Hierarchy) error {
	source, err := r.hierarchy(m, "cgroup", h)
	if err != nil {
		return err
	}
	defer source.Close()
	return unix.MoveMount(int(source.Fd()), "", int(folder.Fd()), h.Name, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

func (r *Root) putUnified(m *mount, h Hierarchy) error {
	source, err := r.hierarchy(m, "cgroup2", h)
	if err != nil {
		return m.failed(err)
	}
	m.source = source
	return r.attach(m)
}

// hierarchy makes the mount of one hierarchy.
func (r *Root) hierarchy(m *mount, kind string, h Hierarchy) (*os.File, error) {
	if r.settings.CgroupInside {
		var data []parameter
		for _, o := range h.Options {
			key, value, hasValue := strings.Cut(o, "=")
			data = append(data, parameter{key, value, !hasValue})
		}
		return makeFilesystem(kind, "cgroup", data, m.options.own)
	}
	path := h.Path
	if kind == "cgroup2" {
		path = h.Mount
	}
	source, err := sys.CopyMount(sys.WorkingDir, path, false)
	if err != nil {
		return nil, err
	}
	if err := setAttributes(source, false, m.options.own); err != nil {
		source.Close()
		return nil, err
	}
	return source, nil
}
