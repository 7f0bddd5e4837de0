package engine

import (
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/runtime"
)

// watchMemory tells, as long as the run lasts, of each time its processes find no more memory: a container may go on for
// years after the kernel has killed one of them. Where that cannot be watched, the container's end tells.
func (e *Engine) watchMemory(r *run) (stop func()) {
	c, err := e.containers.Get(r.id)
	if err != nil {
		return func() {}
	}
	group, err := runtime.OpenCgroup(e.cgroupPath(c))
	if err != nil {
		return func() {}
	}
	short, err := group.WatchMemory()
	if err != nil {
		return func() {}
	}
	e.work.Go(func() {
		for short.Wait() == nil && e.starved(r) {
		}
	})
	return func() { _ = short.Close() }
}

// starved records and tells it, unless the run is over.
func (e *Engine) starved(r *run) bool {
	release, err := e.containers.Lock(e.closing, r.id)
	if err != nil {
		return false
	}
	defer release()
	select {
	case <-r.over:
		return false
	default:
	}
	c, err := e.containers.Note(r.id, func(c *container.Container) error {
		c.State.OOMKilled = true
		return nil
	})
	if err != nil {
		return false
	}
	r.starved = true
	e.event(c, et.ActionOOM)
	return true
}
