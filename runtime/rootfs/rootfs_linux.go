// Package rootfs builds a container's file system in the mount namespace of the calling thread, with the mount API
// of file descriptors: a mount is made detached, given its attributes, and only then attached, so nothing is ever
// visible half made.
//
// The order of the calls is the order of the functions here:
//
//	Open      every host path is opened while the host's tree is still in sight and still shared
//	Inside    what only the container's first process can make: proc of its pid namespace, and everything that shall
//	          belong to its user namespace; it is delivered detached
//	MountRoot propagation to the host is cut and the root put in place
//	Mount     what is mounted on it, in the order of the document
//	Protect   masked and read-only paths
//	Pivot     the root becomes the namespace's root and the host's tree goes away
//
// Names inside the root are resolved by openat2 with RESOLVE_IN_ROOT: links in an image lead nowhere outside.
package rootfs

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

// Overlay is a root of stacked layers: Lower topmost first; without Upper it is read-only. Mapped layers lie on the disk with
// the numbers that users have in the container.
type Overlay struct {
	Lower       []string
	Upper, Work string
	Mapped      bool
}

// Hierarchy is one control group hierarchy as the container shall see it.
type Hierarchy struct {
	// Name is the folder's name under the cgroup mount ("cpu,cpuacct"), empty for the unified hierarchy.
	Name string
	// Options are what selects the hierarchy when it is mounted ("cpu", "name=systemd").
	Options []string
	// Path is the container's cgroup in the host's file system; Mount is where the hierarchy is mounted there.
	Path, Mount string
}

// Settings says what to build.
type Settings struct {
	// Overlay is the root, or Tree, a detached mount; both nil: Path.
	Overlay *Overlay
	Tree    *os.File
	Path    string
	// Sources are detached mounts which binds, one each, name as their source.
	Sources map[string]*os.File
	// Rooms are mount namespaces, at whose roots lies what binds name as their source.
	Rooms map[string]*os.File
	// Bundle is what relative sources of mounts are relative to.
	Bundle      string
	ReadOnly    bool
	Propagation string
	Mounts      []specs.Mount
	Devices     []specs.LinuxDevice
	Masked      []string
	ReadOnlys   []string
	// ProcInside tells that proc must be made by a process in the container's pid namespace.
	ProcInside bool
	// Owner is the root user and group of the container's own user namespace; nil: it has the host's.
	Owner *Owner
	// IDMap opens a user namespace with these mappings, or the container's own for none.
	IDMap func(users, groups []specs.LinuxIDMapping) (*os.File, error)
	// Borrowed tells that the mount namespace is not the container's: nothing but its root is to be seen there.
	Borrowed bool
	// CgroupInside tells that the container has a cgroup namespace of its own.
	CgroupInside bool
}

// Owner is a user and a group in the host's numbers.
type Owner struct{ UID, GID uint32 }

// Root is a file system being built.
type Root struct {
	settings Settings
	dir      *os.File
	made     []Stub
	// mapped are directories of layers that show their files as belonging to the container's users.
	mapped map[string]bool
	mounts []*mount
	null   *stamp
	// hierarchies are what a cgroup mount shows.
	hierarchies []Hierarchy
}

// mount is one mount of the document, resolved.
type mount struct {
	specs.Mount
	options options
	// source is the mount before it is attached.
	source *os.File
	// host is what a bind shows, on the host.
	host string
	// users is the user namespace by which its files belong to others, or nil.
	users *os.File
	// inside tells that the container's first process makes it, after that it does so before one that precedes it.
	inside, after bool
}

// Open reads the settings and opens what they name on the host. It must be called before anything cuts the
// thread's mounts off from the host's: a bind that shall share mounts with the host must be copied from one that does.
func Open(s Settings) (*Root, error) {
	r := &Root{settings: s}
	for _, m := range s.Mounts {
		o, err := parseOptions(m.Type, m.Options)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.Destination, err)
		}
		if m.Type == "cgroup2" {
			m.Type = "cgroup"
		}
		r.mounts = append(r.mounts, &mount{Mount: m, options: o})
	}
	before := false
	for _, m := range r.mounts {
		m.inside = !m.options.bind && (m.Type == "proc" && s.ProcInside || s.Owner != nil && m.Type != "cgroup" && !m.options.mapped)
		m.after = before
		before = before || !m.inside
		if !m.options.bind {
			continue
		}
		if err := r.openSource(m); err != nil {
			r.Close()
			return nil, err
		}
	}
	null, err := sys.CopyMount(sys.WorkingDir, "/dev/null", false)
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("open /dev/null: %w", err)
	}
	r.null = &stamp{fd: null}
	// It is the host's own node, whose mode nobody inside may change.
	if err := setAttributes(null, false, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}); err != nil {
		r.Close()
		return nil, fmt.Errorf("protect /dev/null: %w", err)
	}
	return r, nil
}

// Mount mounts everything in the order of the document; the root is in place, and what the container's first process
// makes has been delivered. It must be called in the container's cgroup namespace; hierarchies are what a cgroup mount
// shows.
func (r *Root) Mount(hierarchies []Hierarchy) error {
	r.hierarchies = hierarchies
	if err := r.actAsOwner(); err != nil {
		return err
	}
	if err := r.linkMountTable(); err != nil {
		return fmt.Errorf("link /etc/mtab: %w", err)
	}
	for _, m := range r.mounts {
		if err := r.put(m); err != nil {
			return err
		}
	}
	return r.makeDevices()
}

func (r *Root) actAsOwner() error {
	o := r.settings.Owner
	if o == nil {
		return nil
	}
	if err := sys.ActAs(o.UID, o.GID); err != nil {
		return fmt.Errorf("act as the container's root: %w", err)
	}
	return nil
}

// Place is where a root that is a folder of the host is mounted.
func (r *Root) Place() string { return r.settings.Path }

// Dir is the root directory, for looking things up inside before the container runs.
func (r *Root) Dir() *os.File { return r.dir }

// Release gives the root directory to the caller and closes everything else.
func (r *Root) Release() *os.File {
	dir := r.dir
	r.dir = nil
	r.Close()
	return dir
}

// Close lets go of what Open and Mount opened. The mounts themselves end with the namespace.
func (r *Root) Close() {
	for _, m := range r.mounts {
		closeFile(&m.source)
		closeFile(&m.users)
	}
	if r.null != nil {
		closeFile(&r.null.fd)
	}
	closeFile(&r.dir)
}

func closeFile(f **os.File) {
	if *f != nil {
		(*f).Close()
		*f = nil
	}
}

// MountRoot cuts the namespace off from the host's and attaches the root.
func (r *Root) MountRoot() error {
	if r.settings.Borrowed && (r.settings.Overlay != nil || r.settings.Tree != nil) {
		return fmt.Errorf("a root of layers needs a mount namespace of its own: %w", unix.EINVAL)
	}
	if !r.settings.Borrowed {
		private := unix.MountAttr{Propagation: unix.MS_SLAVE}
		if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &private); err != nil {
			return fmt.Errorf("cut mount propagation to the host: %w", err)
		}
	}
	var err error
	at := "/"
	switch o := r.settings.Overlay; {
	case r.settings.Tree != nil:
		if r.dir, err = duplicate(r.settings.Tree); err != nil {
			return fmt.Errorf("mount root: %w", err)
		}
	case o != nil:
		if o.Mapped {
			err = r.mapOverlay(o)
		}
		if err == nil {
			r.dir, err = sys.MountOverlay(o.Lower, o.Upper, o.Work)
		}
		if err != nil {
			return fmt.Errorf("mount root: %w", err)
		}
	default:
		// Where hooks expect it; the overlay needs no place on the host and takes the one that always exists.
		at = r.settings.Path
		if r.dir, err = sys.CopyMount(sys.WorkingDir, at, true); err != nil {
			return fmt.Errorf("open root %s: %w", at, err)
		}
		if err := setAttributes(r.dir, true, unix.MountAttr{Propagation: unix.MS_PRIVATE}); err != nil {
			return fmt.Errorf("root %s: %w", at, err)
		}
	}
	if err := unix.MoveMount(int(r.dir.Fd()), "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach root to %s: %w", at, err)
	}
	return nil
}

// Pivot makes the root the root of the namespace and of every process in it, and drops the host's tree. In a borrowed
// namespace both stay, and the container's process has to change its root.
func (r *Root) Pivot() error {
	if r.settings.ReadOnly {
		if err := setAttributes(r.dir, false, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("make root read-only: %w", err)
		}
	}
	if !r.settings.Borrowed {
		if err := r.turn(); err != nil {
			return err
		}
	}
	if r.settings.Propagation == "" {
		return nil
	}
	kind, recursive, known := propagation(r.settings.Propagation)
	if !known {
		return fmt.Errorf("unknown propagation of the root %q: %w", r.settings.Propagation, unix.EINVAL)
	}
	if err := setAttributes(r.dir, recursive, unix.MountAttr{Propagation: kind}); err != nil {
		return fmt.Errorf("propagation of the root: %w", err)
	}
	return nil
}

// turn exchanges the namespace's root for ours.
func (r *Root) turn() error {
	old, err := os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("open host root: %w", err)
	}
	defer old.Close()
	if err := unix.Fchdir(int(r.dir.Fd())); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	// The old root ends up on top of the new one, so no folder is needed for it.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Fchdir(int(old.Fd())); err != nil {
		return fmt.Errorf("return to host root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount host root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter new root: %w", err)
	}
	return nil
}
