package engine

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/spec"
)

// ContainerUpdate changes limits and the restart policy, live where the container runs.
func (e *Engine) ContainerUpdate(ctx context.Context, ref string, u ct.UpdateConfig) (ct.UpdateResponse, error) {
	answer := ct.UpdateResponse{}
	c, release, err := e.hold(ctx, ref)
	if err != nil {
		return answer, err
	}
	defer release()
	if c.State.Status == ct.StateRemoving || c.State.Status == ct.StateDead {
		return answer, cannotUpdate(c, errdefs.ErrConflict.WithMessage("container is marked for removal and cannot be \"update\""))
	}
	host, err := plan.Update(c.HostConfig, u)
	if err != nil {
		return answer, cannotUpdate(c, err)
	}
	answer.Warnings, err = plan.ValidateResources(&host.Resources, e.machine(), true)
	if err != nil {
		return answer, err
	}
	if c.State.Alive() {
		if err := e.updateLive(c, host); err != nil {
			return answer, cannotUpdate(c, err)
		}
	}
	c, err = e.containers.Change(c.ID, func(c *container.Container) error {
		c.HostConfig = host
		return nil
	})
	if err != nil {
		return answer, cannotUpdate(c, err)
	}
	e.event(c, et.ActionUpdate)
	return answer, nil
}

// updateLive changes the limits of a running container's cgroup.
func (e *Engine) updateLive(c *container.Container, host *ct.HostConfig) error {
	group, err := runtime.OpenCgroup(e.cgroupPath(c))
	if err != nil {
		return err
	}
	limits := spec.Resources(host.Resources)
	if err := spec.UpdateDevices(limits, c.HostConfig.Resources, host.Resources); err != nil {
		return err
	}
	return group.Update(limits)
}

func cannotUpdate(c *container.Container, err error) error {
	return fmt.Errorf("Cannot update container %s: %w", c.ID, err)
}
