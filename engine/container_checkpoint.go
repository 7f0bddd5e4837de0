package engine

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	cp "github.com/moby/moby/api/types/checkpoint"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/runtime"
)

// errTerminal refuses what a terminal's other end, which is the supervisor's, does not outlive.
var errTerminal = errdefs.ErrInvalidArgument.WithMessage("checkpoint not support on containers with tty")

// CheckpointCreate keeps the state of a running container, which ends by it or goes on.
func (e *Engine) CheckpointCreate(ctx context.Context, ref string, request cp.CreateRequest) error {
	c, release, err := e.hold(ctx, ref)
	if err != nil {
		return err
	}
	r, err := e.keepState(context.WithoutCancel(ctx), c, request)
	release()
	if err != nil || !request.Exit {
		return err
	}
	select { // so that a start, which may come next, finds the container ended
	case <-r.over:
	case <-ctx.Done():
	case <-e.closing:
	}
	return nil
}

func (e *Engine) keepState(ctx context.Context, c *container.Container, request cp.CreateRequest) (*run, error) {
	switch {
	case c.State.Status == ct.StatePaused:
		return nil, errdefs.ErrConflict.WithMessage("container " + c.ID + " is paused, unpause the container before a checkpoint")
	case c.State.Status != ct.StateRunning:
		return nil, errdefs.ErrConflict.WithMessage("Container " + c.ID + " not running")
	case c.Config.Tty:
		return nil, errTerminal
	}
	r := e.runs.live(c.ID)
	if r == nil {
		return nil, notRunning(c.ID)
	}
	o, err := e.MakeCheckpoint(c, request.CheckpointID, request.CheckpointDir)
	if err != nil {
		return nil, fmt.Errorf("cannot checkpoint container %s: %w", c.Name, err)
	}
	o.LeaveRunning = !request.Exit
	if request.Exit { // first: no policy, of a later daemon either, brings back what ends by its checkpoint
		err = e.noteStopped(c.ID, true)
	}
	if err == nil {
		err = r.sup.Checkpoint(ctx, *o)
	}
	if err != nil {
		err = fmt.Errorf("cannot checkpoint container %s: %w", c.Name, err)
		return nil, errors.Join(err, e.noteStopped(c.ID, c.StoppedByHand), os.RemoveAll(o.Images))
	}
	e.event(c, et.ActionCheckpoint)
	return r, nil
}

func (e *Engine) noteStopped(id string, byHand bool) error {
	_, err := e.containers.Change(id, func(c *container.Container) error {
		c.StoppedByHand = byHand
		return nil
	})
	return err
}

// ContainerRestore starts a container with the processes of one of its checkpoints.
func (e *Engine) ContainerRestore(ctx context.Context, ref, name, dir string) error {
	return e.startByHand(ctx, ref, func(c *container.Container) (*runtime.CheckpointOptions, error) {
		if c.Config.Tty {
			return nil, errTerminal
		}
		return e.Checkpoint(c, name, dir)
	})
}
