package engine

import (
	"context"
	"fmt"

	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"

	"github.com/containerd/errdefs"
)

// ContainerRestart stops the container if it runs, and starts it. One that removes itself stays for the new run.
func (e *Engine) ContainerRestart(ctx context.Context, ref, signal string, timeout *int) error {
	c, err := e.containers.Get(ref)
	if err != nil {
		return err
	}
	// A client that has asked and left does not leave a container half restarted.
	ctx = context.WithoutCancel(ctx)
	keep := e.removals.Hold(c.ID)
	defer keep()
	if c.State.Busy() {
		if err := e.stop(ctx, c, signal, timeout); err != nil {
			return fmt.Errorf("Cannot restart container %s: %w", ref, err)
		}
	}
	held, release, err := e.hold(ctx, c.ID)
	if err != nil {
		return err
	}
	defer release()
	switch held.State.Status {
	case ct.StateRemoving, ct.StateDead:
		return errdefs.ErrConflict.WithMessage("container is marked for removal and cannot be started")
	case ct.StateRunning, ct.StatePaused:
		return nil
	}
	if err := e.startHeld(ctx, held, startMode{byHand: true}); err != nil {
		return fmt.Errorf("Cannot restart container %s: %w", ref, err)
	}
	e.event(held, et.ActionRestart)
	return nil
}
