package engine

import (
	"context"
	"strings"

	"github.com/containerd/errdefs"
	et "github.com/moby/moby/api/types/events"
)

// ContainerRename gives the container another name.
func (e *Engine) ContainerRename(ctx context.Context, ref, name string) error {
	if ref == "" || strings.TrimPrefix(name, "/") == "" {
		return errdefs.ErrInvalidArgument.WithMessage("Neither old nor new names may be empty")
	}
	c, release, err := e.hold(ctx, ref)
	if err != nil {
		return err
	}
	defer release()
	if c.Name == strings.TrimPrefix(name, "/") {
		return errdefs.ErrInvalidArgument.WithMessage("Renaming a container with the same name as its current name")
	}
	old := c.Name
	c, err = e.containers.Rename(c.ID, name)
	if err != nil {
		return err
	}
	e.networks.Rename(c.ID, c.Name)
	e.event(c, et.ActionRename, "oldName", "/"+old)
	return nil
}
