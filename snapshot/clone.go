package snapshot

import (
	"context"
	"fmt"

	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/container"
)

// Twin is a container to be made as another one is.
type Twin struct {
	Name       string
	Config     *ct.Config
	HostConfig *ct.HostConfig
	Networking *nt.NetworkingConfig
	Platform   *ocispec.Platform
	// Layer makes the writable layer of the new container, whose ID it gets.
	Layer func(ctx context.Context, id string) error
}

// Clone makes a container with the settings and the files of another one, as they are or as a snapshot has them. Volumes
// with a name are shared, those without are made anew.
func (c *Conductor) Clone(ctx context.Context, reference string, r api.CloneRequest) (ct.CreateResponse, error) {
	var made ct.CreateResponse
	if r.Snapshot != "" {
		box, release, err := c.hold(ctx, reference, "clone")
		if err != nil {
			return made, err
		}
		defer release()
		_, snap, err := c.find(box.ID, r.Snapshot)
		if err != nil {
			return made, err
		}
		made, err = c.twin(ctx, box, r.Name, func(ctx context.Context, id string) error {
			return c.Layers.CloneSnapshot(ctx, id, snap)
		})
		return made, cloneError(box, err)
	}
	box, err := c.copied(ctx, reference, copying{
		deed: "clone",
		still: func(ctx context.Context, box *container.Container) (err error) {
			made, err = c.twin(ctx, box, r.Name, func(ctx context.Context, id string) error {
				return c.Layers.Clone(ctx, id, box.ID, nil)
			})
			return err
		},
		moving: func(ctx context.Context, box *container.Container, done func()) (err error) {
			made, err = c.twin(ctx, box, r.Name, func(ctx context.Context, id string) error {
				return c.Layers.Clone(ctx, id, box.ID, done)
			})
			return err
		},
		undo: func(ctx context.Context) error { return c.Maker.ContainerUnmake(ctx, made.ID) },
	})
	return made, cloneError(box, err)
}

func cloneError(box *container.Container, err error) error {
	if err == nil || box == nil {
		return err
	}
	return fmt.Errorf("clone container %s: %w", box.Name, err)
}

// twin has a container made with the settings of another one; what was derived from its ID is not among them.
func (c *Conductor) twin(ctx context.Context, box *container.Container, name string, layer func(context.Context, string) error) (ct.CreateResponse, error) {
	config := *box.Config
	if config.Hostname == box.ShortID() {
		config.Hostname = ""
	}
	if img, err := c.Images.Get(ctx, config.Image, &box.Platform); err != nil || img.ID != box.Image {
		config.Image = box.Image.String() // the name has moved on
	}
	endpoints := map[string]*nt.EndpointSettings{}
	for network, wish := range box.Wished {
		endpoints[network] = wish.Copy()
	}
	return c.Maker.ContainerMake(ctx, Twin{
		Name: name, Config: &config, HostConfig: box.HostConfig, Platform: &box.Platform, Layer: layer,
		Networking: &nt.NetworkingConfig{EndpointsConfig: endpoints},
	})
}
