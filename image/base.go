package image

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/image/progress"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
)

// Origin is where images come from that are in no registry, such as a client's folder.
type Origin interface {
	// Manifest is remote.Client.Manifest without a session.
	Manifest(ctx context.Context, name ref.Name) (ocispec.Descriptor, []byte, error)
	// Blob is remote.Client.Blob without a session.
	Blob(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, int64, error)
}

// source is where missing documents and blobs come from.
type source struct {
	name    ref.Name
	session *remote.Session
	origin  Origin // nil: the registry of the name
}

func sourceOf(name ref.Name, o PullOptions) source {
	return source{name: name, session: remote.NewSession(o.Credentials), origin: o.Origin}
}

func (s *Store) manifest(ctx context.Context, src source, name ref.Name) (ocispec.Descriptor, []byte, error) {
	if src.origin != nil {
		return src.origin.Manifest(ctx, name)
	}
	return s.remote.Manifest(ctx, name, src.session)
}

func (s *Store) blob(ctx context.Context, src source, desc ocispec.Descriptor, offset int64) (io.ReadCloser, int64, error) {
	if src.origin != nil {
		return src.origin.Blob(ctx, desc, offset)
	}
	if isForeign(desc) {
		body, err := s.remote.Foreign(ctx, desc)
		if err == nil || ctx.Err() != nil {
			return body, 0, err
		}
		slog.Info("a foreign layer is not to be had where it says, asking the registry", "error", err)
	}
	return s.remote.Blob(ctx, src.name, desc, offset, src.session)
}

// Ask finds what name points to where it comes from, for the platform of o, and takes in the documents and the config, but
// no layers. hold protects all that it leads to. The image gets no name here.
func (s *Store) Ask(ctx context.Context, name ref.Name, o PullOptions, hold *Lease) (*Image, error) {
	p := planner{store: s, src: sourceOf(name, o), platform: o.Platform, hold: hold, known: true}
	plan, err := p.run(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range layerTasks(plan.layers, plan.config.RootFS.DiffIDs) {
		hold.Add(t.desc.Digest, t.diffID)
	}
	doc, err := s.document(plan.manifest)
	if err != nil {
		return nil, err
	}
	return s.imageOf(plan.target, variant{desc: plan.manifest, manifest: doc.Manifest, config: plan.config})
}

// Coming is how far a layer has come: so much of it is downloaded or, with Extracting, unpacked.
type Coming struct {
	Layer            ocispec.Descriptor
	Extracting, Done bool
	Current, Total   int64
}

// Bring has the layers of an image that Ask has found fetched, unpacked and fit for lying on one another. hold is that of
// Ask. report, when set, hears how each layer goes on, and at last that it is done.
func (s *Store) Bring(ctx context.Context, img *Image, name ref.Name, o PullOptions, report func(Coming)) error {
	src := sourceOf(name, o)
	return s.unpackAll(ctx, &src, img.Layers, img.DiffIDs, func(t layerTask, p progress.State, done bool) {
		if report != nil && (done || p.Stage == progress.Downloading || p.Stage == progress.Extracting) {
			report(Coming{t.desc, p.Stage == progress.Extracting, done, p.Current, p.Total})
		}
	})
}

// Protect has hold keep the documents and the config of an image that was found here. It is errdefs.ErrNotFound where it was
// removed before that.
func (s *Store) Protect(img *Image, hold *Lease) error {
	hold.Add(img.ID, img.Manifest.Digest)
	doc, err := s.document(img.Target)
	if err == nil && img.Manifest.Digest != img.ID {
		doc, err = s.document(img.Manifest)
	}
	if err != nil || doc.Manifest == nil {
		return err
	}
	hold.Add(doc.Manifest.Config.Digest)
	_, err = s.blobs.Stat(doc.Manifest.Config.Digest)
	return err
}

// ConfigOf is the config of an image, byte for byte.
func (s *Store) ConfigOf(img *Image) ([]byte, error) {
	doc, err := s.document(img.Manifest)
	if err != nil {
		return nil, err
	}
	if doc.Manifest == nil {
		return nil, fmt.Errorf("config of %s: %w", img.Name(), errdefs.ErrInvalidArgument)
	}
	return s.blobs.Read(doc.Manifest.Config.Digest, oci.MaxConfig)
}
