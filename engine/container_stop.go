package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
)

// Seconds that things may take.
const (
	// killTime is for a killed container to be gone.
	killTime = 30
	// endTime is for the end of a container that could not be signalled because it had just ended.
	endTime = 5
	// longestWait is a hundred years: more would not fit a time.Duration.
	longestWait = 100 * 365 * 24 * 3600
)

// ContainerStop asks the container to end and kills it after timeout seconds; nil is the container's own
// timeout, negative waits for ever. A stopped one is errdefs.ErrNotModified.
func (e *Engine) ContainerStop(ctx context.Context, ref, signal string, timeout *int) error {
	c, err := e.containers.Get(ref)
	if err != nil {
		return err
	}
	if !c.State.Busy() {
		return errdefs.ErrNotModified.WithMessage("container is already stopped")
	}
	// A client that has asked and left does not leave a container half stopped.
	ctx = context.WithoutCancel(ctx)
	if err := e.stop(ctx, c, signal, timeout); err != nil {
		return fmt.Errorf("cannot stop container: %s: %w", ref, err)
	}
	e.awaitRemoval(ctx, c)
	return nil
}

// awaitRemoval waits for a container that removes itself at its end, so that its name is free for the next one.
func (e *Engine) awaitRemoval(ctx context.Context, c *container.Container) {
	if !c.AutoRemove() || e.removals.Underway(c.ID) {
		return
	}
	if gone, err := e.containers.Wait(ctx, c.ID, ct.WaitConditionRemoved); err == nil {
		within(ctx, gone, endTime)
	}
}

// stop ends a running container for good: no restart policy brings it back.
func (e *Engine) stop(ctx context.Context, c *container.Container, name string, timeout *int) error {
	number, err := plan.Signal(cmp.Or(name, c.StopSignal()))
	if err != nil {
		return err
	}
	seconds := c.StopTimeout()
	if timeout != nil {
		seconds = *timeout
	}
	c, ended, err := e.stopByHand(ctx, c)
	if err != nil || !c.State.Alive() {
		return err
	}
	if err := e.signal(ctx, c, number, false); err != nil && !within(ctx, ended, endTime) {
		return err
	}
	if !within(ctx, ended, seconds) {
		if err := e.killHard(ctx, c, ended); err != nil {
			return err
		}
	}
	if !c.AutoRemove() { // else it is gone when it can be held
		if release, err := e.containers.Lock(ctx, c.ID); err == nil { // the end is told before, by who holds it
			release()
		}
	}
	e.event(c, et.ActionStop)
	return nil
}

// stopByHand notes that a user stopped the container, and tells of the end of its run, which is the last by that. One
// that waits for its restart is stopped by the note alone.
func (e *Engine) stopByHand(ctx context.Context, c *container.Container) (*container.Container, <-chan container.State, error) {
	note := func(c *container.Container) error {
		c.StoppedByHand = true
		return nil
	}
	if c.HostConfig.RestartPolicy.IsNone() {
		ended, err := e.containers.Wait(ctx, c.ID, ct.WaitConditionNotRunning)
		if err != nil {
			return nil, nil, err
		}
		c, err = e.containers.Note(c.ID, note)
		return c, ended, err
	}
	c, release, err := e.hold(ctx, c.ID)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	if c.State.Status == ct.StateRestarting {
		c, err = e.stopWaiting(c)
	} else {
		c, err = e.containers.Change(c.ID, note)
	}
	if err != nil {
		return nil, nil, err
	}
	ended, err := e.containers.Wait(ctx, c.ID, ct.WaitConditionNotRunning)
	return c, ended, err
}

// killHard sends KILL to everything in the container and waits for its end.
func (e *Engine) killHard(ctx context.Context, c *container.Container, ended <-chan container.State) error {
	err := e.signal(ctx, c, int(syscall.SIGKILL), true)
	if err != nil && !within(ctx, ended, endTime) {
		return err
	}
	if err == nil && !within(ctx, ended, killTime) {
		return errors.New("tried to kill container, but did not receive an exit event")
	}
	return nil
}

// signal sends a signal to the container, to its first process or to all. A frozen one is thawed, for it could not
// react.
func (e *Engine) signal(ctx context.Context, c *container.Container, number int, all bool) error {
	r := e.runs.live(c.ID)
	if r == nil {
		return errdefs.ErrNotFound.WithMessage("container " + c.ID + " is not running")
	}
	// Told before it is sent, so that it comes before the end that it brings about.
	e.event(c, et.ActionKill, "signal", fmt.Sprint(number))
	if err := r.sup.Kill(ctx, number, all); err != nil {
		return err
	}
	if now, err := e.containers.Get(c.ID); err == nil && now.State.Status == ct.StatePaused {
		return e.thaw(now)
	}
	return nil
}

// within waits for the end, at most so many seconds; negative is for ever.
func within(ctx context.Context, ended <-chan container.State, seconds int) bool {
	var late <-chan time.Time
	if seconds >= 0 {
		timer := time.NewTimer(time.Duration(min(seconds, longestWait)) * time.Second)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-ended:
		return true
	case <-late:
		return false
	case <-ctx.Done():
		return false
	}
}
