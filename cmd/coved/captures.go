package main

import (
	"context"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/snapshot"
)

// maker lets the engine make the containers that are clones of others.
type maker struct{ *engine.Engine }

// ContainerMake makes a container.
func (m maker) ContainerMake(ctx context.Context, t snapshot.Twin) (ct.CreateResponse, error) {
	return m.ContainerCreate(ctx, engine.CreateOptions{
		Name: t.Name, Config: t.Config, HostConfig: t.HostConfig, Networking: t.Networking, Platform: t.Platform, Layer: t.Layer,
	})
}

// ContainerUnmake removes it again, with the volumes made for it.
func (m maker) ContainerUnmake(ctx context.Context, id string) error {
	return m.ContainerRemove(ctx, id, engine.RemoveOptions{Force: true, Volumes: true})
}
