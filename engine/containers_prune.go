package engine

import (
	"context"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/engine/plan"
)

// ContainersPrune removes the containers that do not run and that the filters (label, label!, until) let through. It
// reports only what was really removed and freed.
func (e *Engine) ContainersPrune(ctx context.Context, f plan.Filters) (ct.PruneReport, error) {
	report := ct.PruneReport{ContainersDeleted: []string{}}
	if err := f.Check("label", "label!", "until"); err != nil {
		return report, err
	}
	until, err := f.Until(time.Now())
	if err != nil {
		return report, err
	}
	for _, c := range e.containers.List() {
		if err := ctx.Err(); err != nil {
			return report, err
		}
		young := !until.IsZero() && c.Created.After(until)
		if c.State.Busy() || young || !f.Labels("label", c.Config.Labels) || !f.NotLabels("label!", c.Config.Labels) {
			continue
		}
		size, _ := e.parts.Layers.Freed(ctx, c.ID)
		files, _ := c.Space(ctx, e.parts.Config.Root)
		err := e.ContainerRemove(ctx, c.ID, RemoveOptions{})
		if errdefs.IsConflict(err) || errdefs.IsNotFound(err) {
			continue // started, or removed by another
		}
		if err != nil {
			return report, err
		}
		report.ContainersDeleted = append(report.ContainersDeleted, c.ID)
		report.SpaceReclaimed += uint64(size + files)
	}
	e.log(et.ContainerEventType, et.ActionPrune, "", map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)})
	return report, nil
}
