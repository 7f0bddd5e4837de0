package snapshot

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
)

// CommitOptions says what image to make of a container.
type CommitOptions struct {
	// Name is the zero Name for an image without one.
	Name            ref.Name
	Author, Comment string
	// Changes are instructions of a Dockerfile, Config settings that replace the container's.
	Changes []string
	Config  *ct.Config
	// Snapshot names the snapshot to commit; empty is the container as it is now.
	Snapshot string
	// Pause freezes a running container meanwhile.
	Pause bool
}

// Commit makes an image of a container: its image's layers and one of what it has changed. What is mounted in it
// is no part of it.
func (c *Conductor) Commit(ctx context.Context, reference string, o CommitOptions) (digest.Digest, error) {
	box, err := c.whole(reference, "commit")
	if err != nil {
		return "", err
	}
	pack := func(ctx context.Context, w io.Writer) error { return c.Layers.Pack(ctx, w, box.ID) }
	if o.Snapshot != "" {
		_, snap, err := c.find(box.ID, o.Snapshot)
		if err != nil {
			return "", err
		}
		o.Pause = false
		pack = func(ctx context.Context, w io.Writer) error { return c.Layers.PackSnapshot(ctx, w, snap) }
	}
	config, err := changed(overlaid(o.Config, box.Config), o.Changes)
	if err != nil {
		return "", err
	}
	goOn := func() {}
	if o.Pause {
		if goOn, err = c.still(ctx, box); err != nil {
			return "", err
		}
	}
	defer goOn()
	now := time.Now().UTC()
	id, err := c.Images.Make(ctx, image.Made{
		Base: box.Manifest,
		Config: oci.Image{
			Image:  ocispec.Image{Created: &now, Author: o.Author, Platform: box.Platform},
			Config: config,
		},
		Step: ocispec.History{Created: &now, Author: o.Author, Comment: o.Comment, CreatedBy: strings.Join(box.Config.Cmd, " ")},
		Layer: func(ctx context.Context, w io.Writer) error {
			err := pack(ctx, w)
			goOn() // what follows needs the container no more
			return err
		},
		Name: o.Name,
	})
	if err != nil {
		return "", fmt.Errorf("commit container %s: %w", box.Name, err)
	}
	name := ""
	if o.Name.Path != "" {
		name = o.Name.Familiar()
	}
	c.tell(box, et.ActionCommit, "comment", o.Comment, "imageID", id.String(), "imageRef", name)
	return id, nil
}
