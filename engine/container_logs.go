package engine

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/engine/view"
	"github.com/cove-containers/cove/logs"
)

// LogsOptions picks lines of a container's output.
type LogsOptions struct {
	Stdout, Stderr, Follow, Timestamps, Details bool
	Since, Until                                time.Time
	// Tail is the number of last lines; negative is all.
	Tail int
}

// ContainerLogs gives the lines asked for to emit, each with the text that goes before it (time and details).
// open is called once the request is known to be in order, and is told whether the container has a terminal.
func (e *Engine) ContainerLogs(ctx context.Context, ref string, o LogsOptions, open func(tty bool) error, emit func(line logs.Line, prefix string) error) error {
	if !o.Stdout && !o.Stderr {
		return errdefs.ErrInvalidArgument.WithMessage("You must choose at least one stream")
	}
	c, err := e.containers.Get(ref)
	if err != nil {
		return err
	}
	if c.State.Status == ct.StateRemoving || c.State.Status == ct.StateDead {
		return errdefs.ErrConflict.WithMessage("can not get logs from container which is dead or marked for removal")
	}
	if driver := c.HostConfig.LogConfig; driver.Type == logs.None || driver.Config["cache-disabled"] == "true" {
		return errdefs.ErrNotImplemented.WithMessage("configured logging driver does not support reading")
	}
	cfg, err := e.logConfig(c)
	if err != nil {
		return err
	}
	if err := open(c.Config.Tty); err != nil {
		return err
	}
	query := logs.Query{Since: o.Since, Until: o.Until, Tail: o.Tail, Follow: o.Follow, Stdout: o.Stdout, Stderr: o.Stderr}
	err = logs.Read(ctx, cfg, query, e.outputEnds(c.ID), func(line logs.Line) error {
		return emit(line, view.LogPrefix(line, o.Timestamps, o.Details))
	})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// outputEnds is closed when the container's output is complete: at once if it does not run.
func (e *Engine) outputEnds(id string) <-chan struct{} {
	if r := e.runs.live(id); r != nil {
		return r.over
	}
	ended := make(chan struct{})
	close(ended)
	return ended
}
