package manifest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxConfig bounds the configuration of an image, which is read to learn its platform.
const maxConfig = 8 << 20

// door is one registry, spoken to with the user's credentials.
type door struct {
	client  *remote.Client
	session *remote.Session
}

// open prepares to speak to the registry of name.
func open(a *command.App, name ref.Name, insecure bool) (*door, error) {
	client, session, err := a.Registry(name.Host, insecure)
	return &door{client, session}, err
}

func (d *door) close() { d.client.Close() }

// document fetches what name points to.
func (d *door) document(ctx context.Context, name ref.Name) (ocispec.Descriptor, []byte, error) {
	desc, raw, err := d.client.Manifest(ctx, name, d.session)
	if errdefs.IsNotFound(err) {
		err = absent("no", name)
	}
	return desc, raw, err
}

// entry fetches the manifest of one image.
func (d *door) entry(ctx context.Context, name ref.Name) (entry, error) {
	desc, raw, err := d.document(ctx, name)
	if err != nil {
		return entry{}, err
	}
	if isList(desc.MediaType) {
		return entry{}, fmt.Errorf("%s is a manifest list", name)
	}
	return d.complete(ctx, name, desc, raw)
}

// complete makes an entry of a manifest that was fetched: its platform stands in the image's configuration.
func (d *door) complete(ctx context.Context, name ref.Name, desc ocispec.Descriptor, raw []byte) (entry, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return entry{}, fmt.Errorf("manifest of %s: %w", name, err)
	}
	if desc.Platform == nil && m.Config.Digest != "" {
		p, err := d.platform(ctx, name, m.Config)
		if err != nil {
			return entry{}, fmt.Errorf("configuration of %s: %w", name, err)
		}
		desc.Platform = p
	}
	return newEntry(name, desc, raw), nil
}

// platform reads the platform of an image from its configuration; a configuration of another kind has none.
func (d *door) platform(ctx context.Context, name ref.Name, config ocispec.Descriptor) (*ocispec.Platform, error) {
	if config.Size > maxConfig {
		return nil, errdefs.ErrFailedPrecondition.WithMessage("it is too large")
	}
	body, _, err := d.client.Blob(ctx, name, config, 0, d.session)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	verifier := config.Digest.Verifier()
	raw, err := io.ReadAll(io.TeeReader(io.LimitReader(body, maxConfig), verifier))
	if err != nil {
		return nil, err
	}
	if !verifier.Verified() {
		return nil, errdefs.ErrFailedPrecondition.WithMessage("it is not what the manifest says")
	}
	var p ocispec.Platform
	if json.Unmarshal(raw, &p) != nil || p.OS == "" && p.Architecture == "" {
		return nil, nil
	}
	return &p, nil
}
