package snapshot

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
)

// ImportOptions says what image to make of an archive.
type ImportOptions struct {
	// Name is the zero Name for an image without one.
	Name    ref.Name
	Comment string
	// Changes are instructions of a Dockerfile.
	Changes []string
	// Platform is what the files are for; nil is this host's.
	Platform *ocispec.Platform
}

// Import makes an image of one layer out of the archive of a root file system, compressed in any of the usual ways.
func (c *Conductor) Import(ctx context.Context, r io.Reader, o ImportOptions) (digest.Digest, error) {
	config, err := changed(oci.ImageConfig{}, o.Changes)
	if err != nil {
		return "", err
	}
	plain, err := archive.Decompress(r)
	if err != nil {
		return "", fmt.Errorf("import: %w", err)
	}
	defer plain.Close()
	platform := oci.Host()
	if o.Platform != nil {
		platform = *o.Platform
	}
	now := time.Now().UTC()
	id, err := c.Images.Make(ctx, image.Made{
		Config: oci.Image{Image: ocispec.Image{Created: &now, Platform: platform}, Config: config},
		Step:   ocispec.History{Created: &now, Comment: o.Comment},
		Layer: func(ctx context.Context, w io.Writer) error {
			_, err := io.Copy(w, reader{ctx, plain})
			return err
		},
		Name: o.Name,
	})
	if err != nil {
		return "", fmt.Errorf("import: %w", err)
	}
	return id, nil
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}
