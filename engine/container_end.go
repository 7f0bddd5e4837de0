package engine

import (
	"context"
	"strconv"
	"time"

	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/engine/storage"
	"github.com/cove-containers/cove/shim"
)

// watch waits for the end of a run and records it. It returns early when the daemon ends; the next one goes on.
func (e *Engine) watch(ctx context.Context, r *run) {
	defer e.watchMemory(r)()
	exit, err := r.sup.Wait(ctx)
	if err != nil && ctx.Err() != nil {
		return
	}
	if err != nil {
		e.log_.Error("lost sight of a container", "container", r.id, "error", err)
		exit = shim.Exit{Code: 137, At: time.Now(), Error: err.Error()}
	}
	e.ended(ctx, r, exit)
}

// ended records the end of a run, tells everybody and decides what follows: another run, removal, or nothing.
func (e *Engine) ended(ctx context.Context, r *run, exit shim.Exit) {
	release, err := e.containers.Lock(ctx, r.id)
	if err != nil {
		return
	}
	defer release()
	c, err := e.containers.Get(r.id)
	if err != nil {
		return
	}
	again := !c.StoppedByHand && !e.removals.Underway(c.ID) && plan.Again(c.HostConfig.RestartPolicy, exit.Code, c.RestartCount)
	pause := plan.Pause(r.pause, exit.At.Sub(c.State.StartedAt))

	// Ports, addresses and streams are free before anybody learns of the end.
	e.networks.Leave(c.ID)
	storage.Leave(c, e.volumes)
	left := *c
	e.commands.containerEnded(c.ID)
	e.runs.end(r)
	if again {
		e.runs.again(r)
	}
	c, err = e.containers.Note(c.ID, func(c *container.Container) error {
		c.LeaveNetworks()
		c.State = c.State.End(exit.Code, exit.OOMKilled, exit.At.UTC(), again)
		c.State.Error = exit.Error
		if again {
			c.RestartCount++
		}
		return nil
	})
	e.cleanUp(r, c)
	if err != nil {
		return
	}
	if exit.OOMKilled && !r.starved {
		e.event(c, et.ActionOOM)
	}
	ran := exit.At.Sub(c.State.StartedAt)
	r.attached.Wait(deliverTime) // Compose closes its connections at the last end it hears of
	e.event(c, et.ActionDie, "exitCode", strconv.Itoa(exit.Code), "execDuration", strconv.Itoa(int(ran.Seconds())))
	e.tell(plan.Ended(&left))

	switch {
	case again:
		e.work.Go(func() { e.startAgain(ctx, r, pause) })
	case c.AutoRemove() && !e.removals.Underway(c.ID):
		e.eraseHeld(context.WithoutCancel(ctx), c, true)
	}
}

// cleanUp removes what a run had in the kernel, after the end has been told. The supervisor's folder also tells how the
// run ended: it stays until the container's record does, unless the container removes itself.
func (e *Engine) cleanUp(r *run, ended *container.Container) {
	e.work.Go(func() {
		defer e.runs.cleanedUp(r)
		if ended != nil && !ended.AutoRemove() {
			if err := e.containers.Flush(); err != nil {
				e.log_.Error("could not record the end of a container", "container", r.id, "error", err)
			}
		}
		if err := r.sup.Delete(context.WithoutCancel(e.closing)); err != nil {
			e.log_.Error("could not remove a supervisor", "container", r.id, "error", err)
		}
	})
}

// startAgain starts a container once more after its restart policy's pause, unless somebody stopped, started or
// removed it meanwhile.
func (e *Engine) startAgain(ctx context.Context, before *run, pause time.Duration) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return
	}
	c, release, err := e.hold(ctx, before.id)
	if err != nil {
		return
	}
	defer release()
	if !e.runs.due(before) || c.State.Alive() {
		return
	}
	if err := e.startHeld(context.WithoutCancel(ctx), c, startMode{pause: pause}); err != nil {
		e.log_.Warn("could not restart a container", "container", c.ID, "name", c.Name, "error", err)
	}
}

// stopWaiting ends the wait of a container for its next start; it counts as exited then. The caller holds it.
func (e *Engine) stopWaiting(c *container.Container) (*container.Container, error) {
	e.runs.mu.Lock()
	delete(e.runs.waiting, c.ID)
	e.runs.mu.Unlock()
	return e.containers.Change(c.ID, func(c *container.Container) error {
		c.State = c.State.With("exited")
		c.StoppedByHand = true
		return nil
	})
}
