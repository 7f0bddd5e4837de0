package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
)

// Made is an image to be made here.
type Made struct {
	// Base is the manifest of the image whose layers lie below; nil for none.
	Base *ocispec.Descriptor
	// Config is the image's config except for the layers and the history, which are the base's and then Step.
	Config oci.Image
	Step   ocispec.History
	// Layer writes the tar of what is new. When that is an archive without an entry there is no new layer.
	Layer func(ctx context.Context, w io.Writer) error
	// Name is the zero Name for an image that has none.
	Name ref.Name
}

// Make makes an image: its layer is packed, hashed and compressed in one go, and unpacked for containers to come. On
// error nothing is left.
func (s *Store) Make(ctx context.Context, m Made) (digest.Digest, error) {
	hold := s.Lease()
	id, err := s.make(ctx, m, hold)
	hold.Release()
	if err != nil {
		s.sweepQuietly(context.WithoutCancel(ctx))
	}
	return id, err
}

func (s *Store) make(ctx context.Context, m Made, hold *Lease) (digest.Digest, error) {
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
	img := m.Config
	img.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}
	if m.Base != nil {
		if err := s.base(*m.Base, &manifest, &img, hold); err != nil {
			return "", err
		}
	}
	layer, diffID, err := s.writeLayer(ctx, m.Layer, hold)
	if err != nil {
		return "", err
	}
	if m.Step.EmptyLayer = diffID == emptyTar; !m.Step.EmptyLayer {
		manifest.Layers, img.RootFS.DiffIDs = append(manifest.Layers, layer), append(img.RootFS.DiffIDs, diffID)
	}
	img.History = append(img.History, m.Step)
	if manifest.Config, err = s.putDocument(img, ocispec.MediaTypeImageConfig, hold); err != nil {
		return "", err
	}
	target, err := s.putDocument(manifest, manifest.MediaType, hold)
	if err != nil {
		return "", err
	}
	if err := s.unpackAll(ctx, nil, manifest.Layers, img.RootFS.DiffIDs, nil); err != nil {
		return "", err
	}
	return target.Digest, s.nameMade(target, m.Name)
}

// emptyTar is the digest of an archive without an entry.
var emptyTar = digest.FromBytes(make([]byte, 1024))

// base begins with the layers and the history of the image below.
func (s *Store) base(desc ocispec.Descriptor, manifest *ocispec.Manifest, img *oci.Image, hold *Lease) error {
	r := reach{}
	s.mark(r, desc)
	for d := range r {
		hold.Add(d)
	}
	doc, err := s.document(desc)
	if err != nil {
		return fmt.Errorf("read the image below: %w", err)
	}
	if doc.Manifest == nil {
		return fmt.Errorf("read the image below: %s is an index: %w", desc.Digest, errdefs.ErrInvalidArgument)
	}
	below, err := s.config(doc.Manifest.Config.Digest)
	if err != nil {
		return fmt.Errorf("read the image below: %w", err)
	}
	if err := oci.CheckLayers(doc.Manifest, below); err != nil {
		return err
	}
	for _, l := range doc.Manifest.Layers {
		l.MediaType = oci.LayerType(l.MediaType)
		manifest.Layers = append(manifest.Layers, l)
	}
	img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, below.RootFS.DiffIDs...)
	img.History = slices.Clone(below.History)
	return nil
}

// writeLayer makes a blob of a layer and tells its diff ID.
func (s *Store) writeLayer(ctx context.Context, write func(context.Context, io.Writer) error, hold *Lease) (desc ocispec.Descriptor, diffID digest.Digest, err error) {
	w, err := s.blobs.New()
	if err != nil {
		return desc, "", err
	}
	defer w.Close()
	compressed := archive.Compress(w)
	plain := digest.SHA256.Digester()
	err = write(ctx, io.MultiWriter(plain.Hash(), compressed))
	if closed := compressed.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return desc, "", fmt.Errorf("write layer: %w", err)
	}
	if diffID = plain.Digest(); diffID == emptyTar {
		return desc, diffID, nil
	}
	desc = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: w.Digest()}
	hold.Add(desc.Digest, diffID)
	if err := w.Commit(); err != nil {
		return desc, "", err
	}
	desc.Size, err = s.blobs.Stat(desc.Digest)
	return desc, diffID, err
}

// putDocument stores a document as JSON.
func (s *Store) putDocument(document any, mediaType string, hold *Lease) (ocispec.Descriptor, error) {
	body, err := json.Marshal(document)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("make document: %w", err)
	}
	d := digest.FromBytes(body)
	hold.Add(d)
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(body))}, s.blobs.Put(d, body)
}

// nameMade gives an image its name, or lets it be known by its ID.
func (s *Store) nameMade(target ocispec.Descriptor, name ref.Name) error {
	if name.Path == "" {
		return s.Point(target)
	}
	return s.Point(target, name)
}

// Point lets names point to target, all at once; without names it is known by its ID. Everything target leads to must be here,
// durable, and under a lease of the caller's.
func (s *Store) Point(target ocispec.Descriptor, names ...ref.Name) error {
	target = ocispec.Descriptor{MediaType: target.MediaType, Digest: target.Digest, Size: target.Size}
	return s.names.change(func(all map[string]record) (map[string]*record, error) {
		full := []string{}
		for _, name := range names {
			full = append(full, name.String())
		}
		switch {
		case len(full) > 0:
		case len(namesOf(all, target.Digest)) > 0:
			return nil, nil
		default:
			full = []string{target.Digest.String()}
		}
		return repoint(all, target, time.Now(), full...), nil
	}, nil)
}
