package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/runtime"
)

// ContainerPause freezes every process of the container.
func (e *Engine) ContainerPause(ctx context.Context, ref string) error {
	c, release, err := e.hold(ctx, ref)
	if err != nil {
		return err
	}
	defer release()
	switch c.State.Status {
	case ct.StatePaused:
		return errdefs.ErrConflict.WithMessage("Container " + c.ID + " is already paused")
	case ct.StateRestarting:
		return errdefs.ErrConflict.WithMessage("Container " + c.ID + " is restarting, wait until the container is running")
	case ct.StateRunning:
	default:
		return errdefs.ErrConflict.WithMessage("Container " + c.ID + " is not running")
	}
	group, err := runtime.OpenCgroup(e.cgroupPath(c))
	if err == nil {
		err = group.Freeze()
	}
	if errors.Is(err, fs.ErrNotExist) { // it has just ended
		return errdefs.ErrConflict.WithMessage("Container " + c.ID + " is not running")
	}
	if err != nil {
		return fmt.Errorf("cannot pause container %s: %w", c.ID, err)
	}
	c, err = e.containers.Note(c.ID, func(c *container.Container) error {
		c.State = c.State.With(ct.StatePaused)
		return nil
	})
	if err == nil {
		e.event(c, et.ActionPause)
	}
	return err
}

// ContainerUnpause lets a frozen container go on.
func (e *Engine) ContainerUnpause(ctx context.Context, ref string) error {
	c, release, err := e.hold(ctx, ref)
	if err != nil {
		return err
	}
	defer release()
	if c.State.Status != ct.StatePaused {
		return errdefs.ErrConflict.WithMessage("Container " + c.ID + " is not paused")
	}
	return e.thaw(c)
}

// thaw lets the processes of a paused container run and records it.
func (e *Engine) thaw(c *container.Container) error {
	group, err := runtime.OpenCgroup(e.cgroupPath(c))
	if err == nil {
		err = group.Thaw()
	}
	if err != nil {
		return fmt.Errorf("Cannot unpause container %s: %w", c.ID, err)
	}
	thawed := false
	c, err = e.containers.Note(c.ID, func(c *container.Container) error {
		thawed = c.State.Status == ct.StatePaused
		if thawed {
			c.State = c.State.With(ct.StateRunning)
		}
		return nil
	})
	if err == nil && thawed {
		e.event(c, et.ActionUnPause)
	}
	return err
}
