package engine

import (
	"context"
	"strconv"

	et "github.com/moby/moby/api/types/events"
)

// ContainerResize sets the size of the container's terminal.
func (e *Engine) ContainerResize(ctx context.Context, ref string, height, width uint) error {
	c, err := e.containers.Get(ref)
	if err != nil {
		return err
	}
	r := e.runs.live(c.ID)
	if r == nil || !c.State.Alive() {
		return notRunning(c.ID)
	}
	if err := r.sup.Resize(ctx, "", uint16(width), uint16(height)); err != nil {
		return err
	}
	e.event(c, et.ActionResize, "height", strconv.Itoa(int(height)), "width", strconv.Itoa(int(width)))
	return nil
}
