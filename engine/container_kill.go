package engine

import (
	"context"
	"syscall"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
)

// ContainerKill sends a signal, by name or number ("" is KILL), to the first process. A signal that means the end,
// KILL or the container's stop signal, also keeps a restart policy from starting it again.
func (e *Engine) ContainerKill(ctx context.Context, ref, signal string) error {
	if signal == "" {
		signal = "KILL"
	}
	number, err := plan.Signal(signal)
	if err != nil {
		return err
	}
	c, err := e.containers.Get(ref)
	if err != nil {
		return err
	}
	final := number == int(syscall.SIGKILL)
	if own, err := plan.Signal(c.StopSignal()); err == nil && own == number {
		final = true
	}
	if !c.State.Busy() || c.State.Status == ct.StateRestarting && !final {
		return notRunning(c.ID)
	}
	var ended <-chan container.State
	if final {
		if c, ended, err = e.stopByHand(ctx, c); err != nil || !c.State.Alive() {
			return err
		}
	}
	if number == int(syscall.SIGKILL) {
		if err := e.killHard(ctx, c, ended); err != nil {
			return err
		}
		e.awaitRemoval(ctx, c)
		return nil
	}
	err = e.signal(ctx, c, number, false)
	if errdefs.IsNotFound(err) {
		return notRunning(c.ID)
	}
	return err
}

func notRunning(id string) error {
	return errdefs.ErrConflict.WithMessage("container " + id + " is not running")
}
