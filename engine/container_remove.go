package engine

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/storage"
)

// RemoveOptions says how thoroughly a container is removed.
type RemoveOptions struct {
	// Force kills a running container first.
	Force bool
	// Volumes removes its anonymous volumes too.
	Volumes bool
}

// ContainerRemove removes a container; when it returns its name is free and its volumes are unused.
func (e *Engine) ContainerRemove(ctx context.Context, ref string, o RemoveOptions) error {
	c, err := e.containers.Get(ref)
	if err != nil {
		return err
	}
	if c.State.Busy() && !o.Force {
		return removalError(ref, errRuns(c))
	}
	// A client that has asked and left does not leave a container half removed.
	ctx = context.WithoutCancel(ctx)
	done, first := e.removals.Begin(c.ID)
	if !first {
		return errdefs.ErrConflict.WithMessage(fmt.Sprintf("removal of container %s is already in progress", ref))
	}
	defer done()
	if err := e.endForRemoval(ctx, c); err != nil {
		return removalError(ref, err)
	}
	c, release, err := e.hold(ctx, c.ID)
	if err != nil {
		return err
	}
	defer release()
	if c.State.Busy() {
		// Somebody started it between its end and now.
		return removalError(ref, errRuns(c))
	}
	e.runs.settle(c.ID)
	if err := e.eraseHeld(ctx, c, o.Volumes); err != nil {
		return removalError(ref, err)
	}
	return nil
}

func removalError(ref string, err error) error {
	return fmt.Errorf("cannot remove container %q: %w", ref, err)
}

// errRuns refuses to remove what runs.
func errRuns(c *container.Container) error {
	if c.State.Status == ct.StatePaused {
		return errdefs.ErrConflict.WithMessage("container is paused and must be unpaused first")
	}
	return errdefs.ErrConflict.WithMessage("container is " + string(c.State.Status) + ": stop the container before removing or force remove")
}

// endForRemoval kills a container that runs.
func (e *Engine) endForRemoval(ctx context.Context, c *container.Container) error {
	if !c.State.Busy() {
		return nil
	}
	c, ended, err := e.stopByHand(ctx, c)
	if err != nil || !c.State.Alive() {
		return err
	}
	if err := e.killHard(ctx, c, ended); err != nil {
		return fmt.Errorf("could not kill container: %w", err)
	}
	return nil
}

// eraseHeld removes what is left of an ended container the caller holds. What frees the name and the volumes is
// done when it returns; the files follow. A container that removes itself would be removed at the next start of
// the daemon too, so its record needs no write of its own.
func (e *Engine) eraseHeld(ctx context.Context, c *container.Container, withVolumes bool) error {
	if withVolumes {
		if err := storage.Doom(c.Dir(e.parts.Config.Root), e.anonymousVolumes(c)); err != nil {
			return err
		}
	}
	e.containers.Keep(c.ID, func(c *container.Container) error {
		c.State = c.State.With(ct.StateRemoving)
		return nil
	})
	// Last of all, so that a client that comes meanwhile does not wait for a start either.
	defer e.runs.forgetWaiting(c.ID)
	e.commands.forget(c.ID)
	e.networks.Leave(c.ID)
	e.networks.Forget(c.ID)
	deleteLayer := e.layers.Delete
	if c.AutoRemove() {
		deleteLayer = e.layers.Drop
	}
	if err := deleteLayer(ctx, c.ID); err != nil {
		e.containers.Change(c.ID, func(c *container.Container) error {
			c.State = c.State.With(ct.StateDead)
			c.State.Error = err.Error()
			return nil
		})
		return fmt.Errorf("remove writable layer: %w", err)
	}
	e.releaseVolumes(ctx, c, withVolumes)
	if e.forwarding != nil {
		if err := e.forwarding.Release(c.ID); err != nil {
			e.log_.Error("the rest of a container's log is lost to its receiver", "container", c.ID, "error", err)
		}
	}
	if c.AutoRemove() {
		e.containers.Drop(c.ID)
	} else if err := e.containers.Delete(c.ID); err != nil {
		return err
	}
	e.event(c, et.ActionDestroy)
	e.work.Go(func() {
		if err := os.RemoveAll(c.Dir(e.parts.Config.Root)); err != nil {
			e.log_.Error("could not remove a container's folder", "container", c.ID, "error", err)
		}
	})
	return nil
}

// releaseVolumes ends the container's use of its volumes, and removes those made for a container without a name
// that nobody uses any more.
func (e *Engine) releaseVolumes(ctx context.Context, c *container.Container, remove bool) {
	for _, m := range c.Mounts {
		if m.Type != mount.TypeVolume {
			continue
		}
		e.volumes.Release(m.Name, c.ID)
		if !remove || !e.volumes.Anonymous(m.Name) || len(e.volumes.Users(m.Name)) > 0 {
			continue
		}
		if err := e.volumes.Remove(ctx, m.Name, true); err != nil {
			e.log_.Warn("could not remove a volume with its container", "volume", m.Name, "container", c.ID, "error", err)
			continue
		}
	}
}
