package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/containerd/errdefs"
)

// Freeze stops every process in the cgroup and returns once all of them stand still.
func (c *Cgroup) Freeze() error { return c.setFrozen(true) }

// Thaw lets frozen processes go on.
func (c *Cgroup) Thaw() error { return c.setFrozen(false) }

// Frozen tells whether the processes are frozen, or on their way there: whoever wanted that may be gone.
func (c *Cgroup) Frozen() (bool, error) {
	dir, file := c.freezer()
	if dir == "" {
		return false, nil
	}
	s, err := read(dir, file)
	if err != nil {
		return false, err
	}
	return s == "FROZEN" || s == "FREEZING" || s == "1", nil
}

// freezer is where the group is frozen; on the older hierarchies only a controller can.
func (c *Cgroup) freezer() (dir, file string) {
	if c.host.unified {
		return c.dir(""), "cgroup.freeze"
	}
	return c.dir("freezer"), "freezer.state"
}

func (c *Cgroup) setFrozen(frozen bool) error {
	dir, file := c.freezer()
	if dir == "" {
		return fmt.Errorf("freeze cgroup: no freezer controller: %w", errdefs.ErrNotImplemented)
	}
	verb, value := "freeze", map[bool]string{true: "FROZEN", false: "THAWED"}[frozen]
	if c.host.unified {
		value = map[bool]string{true: "1", false: "0"}[frozen]
	}
	if !frozen {
		verb = "thaw"
	}
	err := retry(func() (bool, error) {
		if err := write(dir, file, value); err != nil {
			return true, err
		}
		done, err := c.stands(dir, frozen)
		return done || err != nil, err
	})
	if err != nil && frozen && !errors.Is(err, fs.ErrNotExist) {
		// Half frozen is the worst: let them all go on.
		err = errors.Join(err, c.setFrozen(false))
	}
	if err != nil {
		return fmt.Errorf("%s cgroup %s: %w", verb, c.path, err)
	}
	return nil
}

// stands tells whether the kernel is done freezing or thawing. A process in the middle of a system call may take a
// while, and the older controller has to be asked again then.
func (c *Cgroup) stands(dir string, frozen bool) (bool, error) {
	if c.host.unified {
		s, err := read(dir, "cgroup.events")
		return strings.Contains(s, "frozen 1") == frozen, err
	}
	s, err := read(dir, "freezer.state")
	return s == map[bool]string{true: "FROZEN", false: "THAWED"}[frozen], err
}
