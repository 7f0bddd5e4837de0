package server

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
)

// distributionInspect asks a registry what a name points to and which platforms it is for, without pulling it.
func (s *Server) distributionInspect(c *call) error {
	name, err := ref.ParseTagged(c.name("name"))
	if err != nil {
		return err
	}
	session := remote.NewSession(credentials(c.Header))
	desc, body, err := s.Registry.Manifest(c.Context(), name, session)
	if err != nil {
		return err
	}
	document, err := oci.Parse(desc.MediaType, body)
	if err != nil {
		return fmt.Errorf("read manifest of %s: %w", name.Familiar(), err)
	}
	answer := registry.DistributionInspect{Descriptor: ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}}
	if document.Index != nil {
		for _, m := range document.Index.Manifests {
			if m.Platform != nil {
				answer.Platforms = append(answer.Platforms, *m.Platform)
			}
		}
	} else if platform, err := s.configPlatform(c.Context(), name, document.Manifest.Config, session); err == nil {
		answer.Platforms = append(answer.Platforms, platform)
	}
	return c.json(http.StatusOK, answer)
}

// configPlatform reads the platform of an image for one platform only out of its config.
func (s *Server) configPlatform(ctx context.Context, name ref.Name, config ocispec.Descriptor, session *remote.Session) (ocispec.Platform, error) {
	if err := oci.CheckDigest(config.Digest); err != nil {
		return ocispec.Platform{}, err
	}
	body, _, err := s.Registry.Blob(ctx, name, config, 0, session)
	if err != nil {
		return ocispec.Platform{}, err
	}
	defer body.Close()
	raw, err := io.ReadAll(io.LimitReader(body, oci.MaxDocument))
	if err != nil {
		return ocispec.Platform{}, err
	}
	if config.Digest.Algorithm().FromBytes(raw) != config.Digest {
		return ocispec.Platform{}, fmt.Errorf("config of %s does not have digest %s: %w", name.Familiar(), config.Digest, errdefs.ErrDataLoss)
	}
	image, err := oci.ParseImage(raw)
	if err != nil {
		return ocispec.Platform{}, err
	}
	return image.Platform, nil
}
