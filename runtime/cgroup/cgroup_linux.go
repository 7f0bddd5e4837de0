// Package cgroup creates, limits, measures and removes control groups, on hosts with the unified hierarchy (v2) and
// with the older ones (v1), directly or through systemd.
//
// It is written for a container's start rather than taken from a library: the libraries move a finished process
// into its groups by writing its number to cgroup.procs, which makes the kernel wait for every processor, 10 to 15
// milliseconds for each of ten hierarchies on the development machine. Here the process enters by itself while it
// has one thread (25 microseconds a hierarchy, through tasks) or is cloned into its group (unified); see Entry.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Cgroup is one container's control group, in every hierarchy of the host.
type Cgroup struct {
	host host
	path string
	// scope is the systemd unit the group belongs to, or empty.
	scope string
}

// Create makes the group at path, relative to the hierarchies' roots, with the limits r sets. A path of the form
// SLICE:PREFIX:NAME has systemd make it, which needs a process to begin with; hold starts one.
func Create(groupPath string, r *specs.LinuxResources, hold Placeholder) (*Cgroup, error) {
	h, err := thisHost()
	if err != nil {
		return nil, err
	}
	s, asked, err := parseScope(groupPath)
	switch {
	case err != nil:
		return nil, err
	case asked:
		return createScope(h, s, r, hold, systemdSocket)
	}
	return create(h, groupPath, r)
}

func create(h host, groupPath string, r *specs.LinuxResources) (*Cgroup, error) {
	c := &Cgroup{host: h, path: path.Clean("/" + groupPath)}
	if c.path == "/" {
		return nil, fmt.Errorf("cgroup path %q is the root: %w", groupPath, errdefs.ErrInvalidArgument)
	}
	// A group that was left empty is as good as a new one; the usual case asks for nothing.
	if pids, err := c.Pids(); err == nil && len(pids) > 0 {
		return nil, errdefs.ErrAlreadyExists.WithMessage(fmt.Sprintf("cgroup %s has processes already", c.path))
	}
	err := c.make()
	if err == nil && r != nil {
		err = c.Update(r)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create cgroup %s: %w", c.path, err), c.Remove())
	}
	return c, nil
}

func (c *Cgroup) make() error {
	if c.host.unified {
		return makeUnified(c.host.hierarchies[0].mount, c.path)
	}
	for _, h := range c.host.hierarchies {
		if err := makeOld(h, c.path); err != nil {
			return err
		}
	}
	return nil
}

// Open finds the cgroup at path, which may have any form that Create takes. One that does not exist is
// errdefs.ErrNotFound.
func Open(groupPath string) (*Cgroup, error) {
	h, err := thisHost()
	if err != nil {
		return nil, err
	}
	s, asked, err := parseScope(groupPath)
	if err != nil {
		return nil, err
	}
	if asked {
		groupPath = s.path()
	}
	c := &Cgroup{host: h, path: path.Clean("/" + groupPath)}
	c.scope = scopeOf(c.path)
	if _, err := os.Stat(c.processes()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cgroup %s: %w", c.path, errdefs.ErrNotFound)
		}
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	return c, nil
}

// Path is the cgroup's path relative to the hierarchies' roots.
func (c *Cgroup) Path() string { return c.path }

// dir is the group's folder in the hierarchy with a controller, "" where the host has none.
func (c *Cgroup) dir(controller string) string {
	if c.host.unified {
		return c.host.hierarchies[0].mount + c.path
	}
	for _, h := range c.host.hierarchies {
		if h.controls(controller) {
			return h.mount + c.path
		}
	}
	return ""
}

// processes is the folder by which the group's processes are listed: no hierarchy is missing on a sound host, but
// which ones there are differs.
func (c *Cgroup) processes() string {
	for _, controller := range []string{"devices", "pids", "memory"} {
		if dir := c.dir(controller); dir != "" {
			return dir
		}
	}
	return c.host.hierarchies[0].mount + c.path
}

// Hierarchy is one hierarchy as a container shall see it.
type Hierarchy struct {
	// Name is its folder's name, empty for the unified hierarchy; Options select it when it is mounted.
	Name    string
	Options []string
	// Path is the group's folder on the host, Mount the hierarchy's.
	Path, Mount string
}

// Hierarchies lists every hierarchy with the group's place in it.
func (c *Cgroup) Hierarchies() []Hierarchy {
	var all []Hierarchy
	for _, h := range c.host.hierarchies {
		all = append(all, Hierarchy{Name: h.name, Options: h.controllers, Path: h.mount + c.path, Mount: h.mount})
	}
	return all
}

// Update changes the limits that r sets and leaves the others alone.
func (c *Cgroup) Update(r *specs.LinuxResources) error {
	if err := c.updateScope(r); err != nil {
		return err
	}
	return c.update(r)
}

func (c *Cgroup) update(r *specs.LinuxResources) error {
	if c.host.unified {
		return c.updateUnified(r)
	}
	return c.updateOld(r)
}

// Pids lists every process in the cgroup and in the cgroups below it, by its number on the host.
func (c *Cgroup) Pids() ([]int, error) {
	pids, err := readPids(c.processes())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cgroup %s: %w", c.path, errdefs.ErrNotFound)
	}
	return pids, err
}

// Clear kills what is in the group until whoever made it has removed it, which it waits for no longer than patience.
func (c *Cgroup) Clear(patience time.Duration) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(lastPause) {
		if _, err := c.Pids(); err != nil || c.KillAll() != nil {
			return
		}
	}
}

// Patience while something ends in its own time: the first pause, doubled until the last.
const (
	firstPause = time.Millisecond
	lastPause  = 100 * time.Millisecond
	patience   = 10 * time.Second
)

// retry calls f until it says that it is done or patience ends.
func retry(f func() (done bool, err error)) error {
	deadline := time.Now().Add(patience)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		done, err := f()
		if done || err != nil && time.Now().After(deadline) {
			return err
		}
		if time.Now().After(deadline) {
			return os.ErrDeadlineExceeded
		}
		time.Sleep(pause)
	}
}

// KillAll kills every process in the cgroup and below, also those that fork meanwhile, and waits until none is left.
func (c *Cgroup) KillAll() error {
	pids, err := c.Pids()
	if errors.Is(err, errdefs.ErrNotFound) || err == nil && len(pids) == 0 {
		return nil
	}
	if c.host.unified {
		// One write kills all; older kernels have no such file.
		if err := write(c.processes(), "cgroup.kill", "1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("kill cgroup %s: %w", c.path, err)
		}
	}
	err = retry(func() (bool, error) {
		pids, err := c.Pids()
		if errors.Is(err, errdefs.ErrNotFound) || err == nil && len(pids) == 0 {
			return true, nil
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return true, fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
		// A frozen process dies only once it is let go.
		if err := c.Thaw(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return true, err
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("kill processes of cgroup %s: %w", c.path, err)
	}
	return nil
}

// Remove removes the cgroup and those below it; one that is gone already is no error. The kernel needs a moment
// to let go of a group whose last process has just ended. A scope of systemd's ends by itself when it is empty.
func (c *Cgroup) Remove() error {
	for _, h := range c.host.hierarchies {
		var last error
		err := retry(func() (bool, error) {
			last = removeTree(h.mount + c.path)
			return last == nil || !errors.Is(last, unix.EBUSY), last
		})
		if last != nil {
			return fmt.Errorf("remove cgroup: %w", last)
		}
		if err != nil {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
	return nil
}
