package files

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/mount"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/spec"
	"github.com/cove-containers/cove/sys"
)

// view is a container's files, to be looked at from outside.
type view struct {
	c    *container.Container
	root *os.File
	// mounts are detached, those that others lie on first.
	mounts  []placed
	running bool
	numbers *numbers
	base    *layer.Root // of a container that does not run
	hold    *layer.Hold
	making  *layer.Hold // while mount points may be made in a layer that nobody runs on
	// wanted is closed when others wait for the end of the copy; nil when nobody would.
	wanted <-chan struct{}
	// moved counts the bytes that the client has sent.
	moved atomic.Int64
}

// placed is a mount and where in the root it belongs.
type placed struct {
	target string
	mount  *os.File
}

// errAgain tells that the container's state has changed meanwhile.
var errAgain = errdefs.ErrUnavailable.WithMessage("the container is just changing its state")

// open makes a view of the container as it is just now.
func (f *Copier) open(ctx context.Context, ref string, writes bool) (*view, error) {
	const wait, most = 20 * time.Millisecond, 500 // until a process that has died is known to be dead
	for tries := 0; ; tries++ {
		c, err := f.parts.Containers.Get(ref)
		if err != nil {
			return nil, err
		}
		var v *view
		if c.State.Alive() {
			v, err = f.openRunning(c, writes)
		} else {
			v, err = f.openStopped(ctx, c.ID, writes)
		}
		if !errors.Is(err, errAgain) || tries == most {
			return v, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

func (f *Copier) begin(c *container.Container, writes bool) (*view, error) {
	hold, err := f.parts.Layers.Hold(c.ID, writes)
	if err != nil {
		return nil, err
	}
	v := &view{c: c, hold: hold}
	if writes {
		v.wanted = hold.Wanted
	}
	return v, nil
}

// close ends what open began. The mounts go with the thread they were put together on.
func (v *view) close() {
	for _, m := range v.mounts {
		m.mount.Close()
	}
	if v.root != nil {
		v.root.Close()
	}
	if v.base != nil {
		v.base.Close()
	}
	v.stands()
	v.hold.Release()
}

// stands tells that nothing is made any more for the view itself.
func (v *view) stands() {
	if v.making != nil {
		v.making.Release()
	}
}

// openRunning copies the mounts of a running container inside its mount namespace.
func (f *Copier) openRunning(c *container.Container, writes bool) (_ *view, err error) {
	v, err := f.begin(c, writes)
	if err != nil {
		return nil, err
	}
	v.running = true
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	ns, err := os.Open("/proc/" + strconv.Itoa(c.State.Pid) + "/ns/mnt")
	if err == nil {
		defer ns.Close()
		if isOwn(ns) {
			return nil, errAgain // the process has ended, and one of the host has its number
		}
		err = sys.InMountNamespace(ns, func() error { return v.copyInside(f.targets(c)) })
	}
	if err == nil {
		v.numbers, err = readNumbers(c.State.Pid)
	}
	// A process that has ended meanwhile says nothing about the container, and its number may be another's by now.
	if now, stateErr := f.parts.Containers.Get(c.ID); stateErr != nil || now.State.Pid != c.State.Pid || errors.Is(err, fs.ErrNotExist) {
		return nil, errAgain
	}
	if err != nil {
		return nil, fmt.Errorf("copy the mounts of container %s: %w", c.ID, err)
	}
	return v, nil
}

// isOwn tells whether a mount namespace is that of the engine, which no container runs in.
func isOwn(ns *os.File) bool {
	its, err := ns.Stat()
	own, failed := os.Stat("/proc/self/ns/mnt")
	return err == nil && failed == nil && os.SameFile(its, own)
}

// managed are the files that the engine mounts into every container.
var managed = []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}

// targets are the places where something is mounted that belongs to the view.
func (f *Copier) targets(c *container.Container) []string {
	targets := slices.Clone(managed)
	for _, m := range c.Mounts {
		targets = append(targets, m.Target)
	}
	return targets
}

// copyInside copies the root and the mounts at targets; it runs in the container's mount namespace.
func (v *view) copyInside(targets []string) error {
	dir, err := os.OpenFile("/", os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if v.root, err = tamed(sys.CopyMount(sys.Borrow(dir), "", false)); err != nil {
		return err
	}
	for _, target := range targets {
		found, err := sys.OpenPathInRoot(dir, target, true)
		if err != nil {
			continue // the container has moved it away
		}
		m, err := tamed(sys.CopyMount(sys.Borrow(found), "", true))
		found.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
		v.mounts = append(v.mounts, placed{target, m})
	}
	return nil
}

// tamed takes a fresh mount, or the failure to make it, and makes it harmless.
func tamed(m *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	if err := sys.TameMount(m); err != nil {
		m.Close()
		return nil, fmt.Errorf("restrict mount: %w", err)
	}
	return m, nil
}

// openStopped mounts the files of a container that has no process. Until it is done nobody can start it; afterwards
// who starts it waits if the view is for writing.
func (f *Copier) openStopped(ctx context.Context, id string, writes bool) (_ *view, err error) {
	release, err := f.parts.Containers.Lock(ctx, id)
	if err != nil {
		return nil, err
	}
	defer release()
	c, err := f.parts.Containers.Get(id)
	if err != nil {
		return nil, err
	}
	if c.State.Alive() {
		return nil, errAgain
	}
	v, err := f.begin(c, writes)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	// Also who only reads has mount points made, for which the layer must not be somebody else's yet.
	if v.making, err = f.parts.Layers.Hold(id, true); err != nil {
		return nil, err
	}
	if v.base, err = f.parts.Layers.Root(ctx, id); err != nil {
		return nil, err
	}
	if v.root, err = tamed(v.base.Copy("")); err != nil {
		return nil, err
	}
	return v, f.openMounts(v)
}

// openMounts opens what a container mounts when it runs, except what is empty then. A source that is not there is left
// out: what else there is can still be saved.
func (f *Copier) openMounts(v *view) error {
	mounts, err := f.parts.Mounts(v.c)
	if err != nil {
		return err
	}
	mounts = append(f.managedFiles(v.c), mounts...)
	for _, m := range mounts {
		if m.Type == string(mount.TypeTmpfs) {
			continue
		}
		opened, err := tamed(source(m))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			v.mounts = append(v.mounts, placed{m.Target, opened})
			if m.ReadOnly {
				err = sys.ForbidWriting(opened, true)
			}
		}
		if err != nil {
			return fmt.Errorf("open what is mounted at %s: %w", m.Target, err)
		}
	}
	return nil
}

// managedFiles are the files that the engine wrote for the container when it ran.
func (f *Copier) managedFiles(c *container.Container) []spec.Mount {
	owner := c
	if c.HostConfig.NetworkMode.IsContainer() {
		if other, err := f.parts.Containers.Get(c.HostConfig.NetworkMode.ConnectedContainer()); err == nil {
			owner = other
		}
	}
	var all []spec.Mount
	for _, target := range managed {
		if slices.ContainsFunc(c.Mounts, func(m container.Mount) bool { return path.Clean(m.Target) == target }) {
			continue
		}
		all = append(all, spec.Mount{
			Type: "bind", Source: filepath.Join(owner.Dir(f.parts.Root), path.Base(target)), Target: target,
			ReadOnly: c.HostConfig.ReadonlyRootfs,
		})
	}
	return all
}

// source is a detached mount of what m shows.
func source(m spec.Mount) (*os.File, error) {
	if m.Room != nil {
		return sys.CopyAlone(m.Room, m.Subpath, !m.NonRecursive)
	}
	if m.Type != "bind" {
		return runtime.OpenMount(m.Type, m.Source, m.Options)
	}
	if m.Subpath == "" {
		return sys.CopyMount(sys.WorkingDir, m.Source, !m.NonRecursive)
	}
	dir, err := os.Open(m.Source)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	found, err := sys.OpenPathInRoot(dir, m.Subpath, true)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	return sys.CopyMount(sys.Borrow(found), "", !m.NonRecursive)
}

// assemble puts the mounts on the root, which is attached in the calling thread's mount namespace.
func (v *view) assemble() error {
	if v.running {
		// What is mounted in the container must not be taken for an ordinary directory that may be replaced: the mount
		// would be gone from the container, too.
		for _, name := range []string{"/proc", "/sys", "/dev"} {
			if err := v.pin(name); err != nil {
				return err
			}
		}
	}
	slices.SortStableFunc(v.mounts, func(a, b placed) int { return cmp.Compare(depth(a.target), depth(b.target)) })
	for _, m := range v.mounts {
		if err := v.place(m); err != nil {
			return fmt.Errorf("%s: %w", m.target, err)
		}
	}
	if !v.running && v.c.HostConfig.ReadonlyRootfs {
		return sys.ForbidWriting(v.root, false)
	}
	return nil
}

func depth(target string) int { return strings.Count(path.Clean(target), "/") }

// pin mounts a directory over itself.
func (v *view) pin(name string) error {
	dir, err := sys.OpenPathInRoot(v.root, name, false)
	if err != nil {
		return nil
	}
	defer dir.Close()
	if info, err := dir.Stat(); err != nil || !info.IsDir() {
		return err
	}
	m, err := sys.CopyMount(sys.Borrow(dir), "", false)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer m.Close()
	return sys.AttachMount(m, dir)
}

// place attaches one mount. Where the runtime would make a mount point when the container starts, it is made now.
func (v *view) place(m placed) error {
	info, err := m.mount.Stat()
	if err != nil {
		return err
	}
	target, err := sys.OpenPathInRoot(v.root, m.target, true)
	if errors.Is(err, fs.ErrNotExist) && !v.running {
		target, err = v.makePoint(m.target, info.IsDir())
	}
	if err != nil {
		return nil // it cannot be mounted there when the container starts, either
	}
	defer target.Close()
	at, err := target.Stat()
	if err != nil || at.IsDir() != info.IsDir() {
		return err
	}
	return sys.AttachMount(m.mount, target)
}

// makePoint makes a directory or an empty file, with the directories it lies in.
func (v *view) makePoint(target string, isDir bool) (*os.File, error) {
	parent := path.Dir(target)
	dir, err := sys.OpenPathInRoot(v.root, parent, true)
	if errors.Is(err, fs.ErrNotExist) && parent != "/" {
		dir, err = v.makePoint(parent, true)
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	name := path.Base(target)
	if isDir {
		err = sys.MkdirAt(sys.Borrow(dir), name, 0o755)
	} else {
		err = sys.MknodAt(sys.Borrow(dir), name, sys.KindFile|0o644, 0)
	}
	if err != nil {
		return nil, err
	}
	return sys.OpenPathInRoot(v.root, target, true)
}
