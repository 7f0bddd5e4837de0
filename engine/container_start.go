package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/engine/storage"
	"github.com/cove-containers/cove/network"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/shim"
)

// ContainerStart starts a container that does not run; one that runs is errdefs.ErrNotModified.
func (e *Engine) ContainerStart(ctx context.Context, ref string) error {
	return e.startByHand(ctx, ref, func(*container.Container) (*runtime.CheckpointOptions, error) { return nil, nil })
}

// startByHand starts a container for a user, from the checkpoint that find gives, if it gives one.
func (e *Engine) startByHand(ctx context.Context, ref string, find func(*container.Container) (*runtime.CheckpointOptions, error)) error {
	c, release, err := e.hold(ctx, ref)
	if err != nil {
		return err
	}
	defer release()
	switch c.State.Status {
	case ct.StatePaused:
		return errdefs.ErrConflict.WithMessage("cannot start a paused container, try unpause instead")
	case ct.StateRunning, ct.StateRestarting:
		return errdefs.ErrNotModified.WithMessage("container is already running")
	case ct.StateRemoving, ct.StateDead:
		return errdefs.ErrConflict.WithMessage("container is marked for removal and cannot be started")
	}
	checkpoint, err := find(c)
	if err != nil {
		return err
	}
	return e.startHeld(context.WithoutCancel(ctx), c, startMode{byHand: true, checkpoint: checkpoint})
}

// startMode tells who starts a container.
type startMode struct {
	// byHand is a user; otherwise a restart policy does.
	byHand bool
	// pause is how long the policy waited.
	pause time.Duration
	// checkpoint is that whose processes take the program's place; nil: none.
	checkpoint *runtime.CheckpointOptions
}

// startHeld starts the container the caller holds, and records what came of it.
func (e *Engine) startHeld(ctx context.Context, c *container.Container, mode startMode) error {
	err := e.start(ctx, c, mode)
	if err == nil {
		return nil
	}
	code, err := plan.StartFailure(err)
	e.containers.Note(c.ID, func(c *container.Container) error {
		c.State = c.State.Fail(code, err.Error())
		return nil
	})
	if c.AutoRemove() {
		e.eraseHeld(ctx, c, true)
	}
	return err
}

// start is the recipe of a running container. What needs nothing from one another goes on at once: the supervisor
// is launched and the network joined while the runtime document is written.
func (e *Engine) start(ctx context.Context, c *container.Container, mode startMode) (err error) {
	var undo undo
	defer undo.onError(&err)

	// The supervisor of an earlier run must be gone before there is another of this name.
	e.runs.settle(c.ID)
	run := e.runs.of(c.ID)
	run.pause = mode.pause
	undo.push(func() { e.runs.forget(run) })

	if err := storage.Enter(c, e.volumes); err != nil {
		return err
	}
	undo.push(func() { storage.Leave(c, e.volumes) })
	launching := begin(func() (supervisor, error) { return e.shims.Launch(ctx, c.ID) })
	joining := begin(func() (sandbox, error) { return e.join(ctx, c) })
	document, documentErr := e.document(c)
	sup, launchErr := launching.wait()
	box, joinErr := joining.wait()
	if launchErr == nil {
		undo.push(func() { sup.Delete(ctx) })
	}
	if joinErr == nil {
		undo.push(func() { e.networks.Leave(c.ID) })
		defer box.Close()
	}
	if err := firstError(documentErr, joinErr, launchErr); err != nil {
		return err
	}

	if err := e.WriteNames(c, box.Sandbox); err != nil {
		return err
	}
	config, err := e.supervise(c, document, box.Sandbox)
	if err != nil {
		return err
	}
	config.Checkpoint = mode.checkpoint
	if err := firstError(box.namespaces.Keep(ctx, sup), storage.Keep(ctx, document.Mounts, sup)); err != nil {
		return err
	}
	keeping := begin(func() (struct{}, error) { return struct{}{}, keepNames(ctx, sup, box.Names) })

	// Addresses and ports are durable before anything uses them, so that no later daemon gives them away again.
	recording := begin(func() (*container.Container, error) { return e.recordJoin(c.ID, box.Sandbox, mode) })
	undo.push(func() { e.forgetJoin(c) })
	pid, err := sup.Create(ctx, config)
	e.layers.Mounted(c.ID)
	_, recordErr := recording.wait()
	_, keepErr := keeping.wait()
	if err := firstError(err, recordErr, keepErr); err != nil {
		return err
	}

	// Clients that came before the start must be in place before the first byte of output.
	run.launch(sup, document.Process)
	startedAt := time.Now().UTC()
	if err := sup.Start(ctx); err != nil {
		return err
	}

	started, err := e.containers.Note(c.ID, func(c *container.Container) error {
		c.State = c.State.Begin(pid, startedAt, initialHealth(c))
		return nil
	})
	if err != nil {
		return err
	}
	if err := e.etc.Relink(started); err != nil {
		e.log_.Warn("tell containers that are linked to one of its address", "container", c.ID, "error", err)
	}
	e.tell(plan.Begun(started))
	e.event(started, et.ActionStart)
	e.forward(started, run.over)
	e.work.Go(func() { e.watch(e.closing, run) })
	e.watchHealth(run, started)
	return nil
}

// supervise is what the supervisor must know to make the container.
func (e *Engine) supervise(c *container.Container, document *document, sandbox *network.Sandbox) (shim.Config, error) {
	lower, upper, work, err := e.layers.Overlay(c.ID)
	if err != nil {
		return shim.Config{}, fmt.Errorf("find the container's layers: %w", err)
	}
	size := c.HostConfig.ConsoleSize
	return shim.Config{
		Spec:         document.Spec,
		Overlay:      &shim.Overlay{Lower: lower, Upper: upper, Work: work},
		User:         userOf(c),
		Groups:       c.HostConfig.GroupAdd,
		SeccompCache: e.seccompCache(),
		Init:         e.wantsInit(c),
		NetNS:        sandbox.NetNS,
		Stdin:        c.Config.OpenStdin,
		StdinOnce:    c.Config.StdinOnce,
		Terminal:     c.Config.Tty,
		Height:       uint16(size[0]),
		Width:        uint16(size[1]),
		Log:          document.Log,
		Runtime:      e.runtimes()[c.HostConfig.Runtime],
	}, nil
}

// recordJoin writes down, durably, what the network gave the container.
func (e *Engine) recordJoin(id string, sandbox *network.Sandbox, mode startMode) (*container.Container, error) {
	return e.containers.Change(id, func(c *container.Container) error {
		c.Networks, c.Ports, c.SandboxID = sandbox.Endpoints, sandbox.Ports, sandbox.ID
		c.Started, c.StoppedByHand = true, false
		c.State.StartedAt = time.Now().UTC()
		if mode.byHand {
			c.RestartCount = 0
		}
		return nil
	})
}

// forgetJoin takes back what recordJoin wrote over before.
func (e *Engine) forgetJoin(before *container.Container) {
	e.containers.Note(before.ID, func(c *container.Container) error {
		c.LeaveNetworks()
		c.Started, c.State.StartedAt = before.Started, before.State.StartedAt
		return nil
	})
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
