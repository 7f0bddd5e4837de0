package layer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/sys"
)

// Root is the merged tree of a writable layer or a pile, mounted where no other process can see it.
type Root struct {
	// Dir is the tree's root; open what is in it with sys.OpenInRoot.
	Dir   *os.File
	shelf func() (ns *os.File, err error)
	close func() error
}

// mounted is a tree that one or several callers have open.
type mounted struct {
	once  sync.Once
	as    string // the mapping
	dir   *os.File
	err   error
	users int

	shelve   sync.Once // for kernels that copy nothing detached
	ns       *os.File
	shelfErr error
}

// overlaid is what a merged tree consists of: what lies below, topmost first, and what is written to. Without lower it is
// upper as it is, without work it is only to be read.
type overlaid struct {
	lower       []string
	upper, work string
	// built layers are synced when they are settled, and gone if that does not come to pass: until then nothing need be,
	// neither by who writes them nor when they are unmounted, which would sync the whole disk for each step.
	built bool
	// as is whose its files are shown to be.
	as *sys.Mapping
}

func (o overlaid) mount() (*os.File, error) {
	switch {
	case len(o.lower) > 0 && o.built:
		// What an earlier mount of this one left, to warn of what we know.
		if err := os.RemoveAll(filepath.Join(o.work, "work", "incompat")); err != nil {
			return nil, err
		}
		return o.as.MountOverlay(o.lower, o.upper, o.work, "volatile")
	case len(o.lower) > 0:
		return o.as.MountOverlay(o.lower, o.upper, o.work)
	}
	m, err := o.as.CopyMount(o.upper)
	if err == nil && o.work == "" {
		if err = sys.ForbidWriting(m, false); err != nil {
			m.Close()
		}
	}
	return m, err
}

// Root mounts the merged tree of writable layer id; callers at the same time share one mount. Not for a layer that
// a running container has mounted: the kernel promises nothing for two mounts of one layer.
func (s *Store) Root(ctx context.Context, id string) (*Root, error) { return s.RootAs(ctx, id, nil) }

// RootAs is Root with a mapping, which all callers at the same time must have in common.
func (s *Store) RootAs(_ context.Context, id string, as *sys.Mapping) (*Root, error) {
	out := s.gate.Enter(id)
	s.mu.Lock()
	o, err := s.overlay(id)
	if err != nil {
		s.mu.Unlock()
		out()
		return nil, err
	}
	o.as = as
	m := s.join(id)
	s.mu.Unlock()
	r, err := s.show(id, m, o, out)
	if err != nil {
		return nil, fmt.Errorf("mount writable layer %s: %w", id, err)
	}
	return r, nil
}

// join counts one more user of what is mounted, or is about to be, under a key. The lock is held.
func (s *Store) join(key string) *mounted {
	m := s.roots[key]
	if m == nil {
		m = &mounted{}
		s.roots[key] = m
	}
	m.users++
	return m
}

// show mounts o for the first user of m; out is called when this one leaves.
func (s *Store) show(key string, m *mounted, o overlaid, out func()) (*Root, error) {
	m.once.Do(func() {
		s.quotas.Pause(key)
		m.as = o.as.String()
		m.dir, m.err = o.mount()
		s.quotas.Resume(key)
	})
	var once sync.Once
	leave := func() (err error) {
		once.Do(func() {
			err = s.leave(key, m)
			out()
		})
		return err
	}
	err := m.err
	if err == nil && m.as != o.as.String() {
		err = fmt.Errorf("it is mounted with other owners: %w", errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		leave()
		return nil, err
	}
	return &Root{Dir: m.dir, shelf: func() (*os.File, error) { return m.shelf(s.root) }, close: leave}, nil
}

func (s *Store) leave(id string, m *mounted) error {
	s.mu.Lock()
	m.users--
	last := m.users == 0
	if last && s.roots[id] == m {
		delete(s.roots, id)
	}
	s.mu.Unlock()
	if !last || m.dir == nil {
		return nil
	}
	if m.ns != nil {
		m.ns.Close()
	}
	return m.dir.Close()
}

// shelf is a mount namespace that has the tree, over a folder.
func (m *mounted) shelf(at string) (*os.File, error) {
	m.shelve.Do(func() { m.ns, m.shelfErr = sys.Shelve(m.dir, at) })
	return m.ns, m.shelfErr
}

// Copy gives another mount of the same tree, or of what path leads to inside it, detached, for the caller to put mounts
// on and to close: those on Dir would show up for everybody.
func (r *Root) Copy(path string) (*os.File, error) {
	from, err := sys.OpenPathInRoot(r.Dir, path, true)
	if err != nil {
		return nil, fmt.Errorf("copy mount of layer: %w", err)
	}
	defer from.Close()
	c, err := sys.CopyMount(sys.Borrow(from), "", false)
	if err != nil {
		c, err = r.copyShelved(from)
	}
	if err != nil {
		return nil, fmt.Errorf("copy mount of layer: %w", err)
	}
	return c, nil
}

func (r *Root) copyShelved(from *os.File) (c *os.File, err error) {
	ns, err := r.shelf()
	if err != nil {
		return nil, err
	}
	err = sys.InMountNamespace(ns, func() error {
		c, err = sys.CopyMount(sys.Borrow(from), "", false)
		return err
	})
	return c, err
}

// Close unmounts the tree, once the other callers have closed it and nothing of it is open.
func (r *Root) Close() error { return r.close() }
