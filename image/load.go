package image

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	js "github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/image/bundle"
	"github.com/cove-containers/cove/image/progress"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
)

// loaded is one image of an archive: what to point names to, and what to unpack.
type loaded struct {
	target ocispec.Descriptor
	names  []ref.Name
	unpack []*Image
}

// Load takes the images out of an archive made by save: an OCI layout or a Docker archive, in any of the usual compressions.
// All of it is read, verified and unpacked before a name changes; a failed load leaves nothing.
func (s *Store) Load(ctx context.Context, r io.Reader, o LoadOptions) error {
	out := progress.NewReporter(o.Progress)
	defer out.Close()
	hold := s.Lease()
	images, err := s.load(ctx, r, o, out, hold, ref.Name{})
	hold.Release()
	if err != nil {
		s.sweepQuietly(ctx)
		return err
	}
	for _, l := range images {
		if len(l.names) == 0 {
			out.Send(js.Message{Stream: fmt.Sprintf("Loaded image ID: %s\n", l.target.Digest)})
		}
		for _, n := range l.names {
			out.Send(js.Message{Stream: fmt.Sprintf("Loaded image: %s\n", n.Familiar())})
		}
		s.emit("load", l.target.Digest.String(), map[string]string{"name": l.target.Digest.String()})
	}
	return nil
}

// pullEmbedded stands in for a pull of an image that came with the engine.
func (s *Store) pullEmbedded(ctx context.Context, name ref.Name, open func() (io.ReadCloser, error), out *progress.Reporter) (*Image, error) {
	r, err := open()
	if err != nil {
		return nil, fmt.Errorf("open embedded image %s: %w", name.Familiar(), err)
	}
	defer r.Close()
	out.Begin(name.Tag, "Pulling from "+name.Path)
	old, _ := s.names.get(name.String())
	hold := s.Lease()
	images, err := s.load(ctx, r, LoadOptions{Quiet: true}, out, hold, name)
	hold.Release()
	if err != nil {
		s.sweepQuietly(ctx)
		return nil, err
	}
	id := images[0].target.Digest
	out.Say("", "Digest: "+id.String())
	if old.Target.Digest == id {
		out.Say("", "Status: Image is up to date for "+name.Familiar())
	} else {
		out.Say("", "Status: Downloaded newer image for "+name.Familiar())
	}
	s.emit("pull", name.Familiar(), map[string]string{"name": name.FamiliarRepository()})
	return s.Get(ctx, name.String(), nil)
}

// load is the recipe: read all, understand, unpack, name. With as, the archive must hold one image, and it gets that name alone.
func (s *Store) load(ctx context.Context, r io.Reader, o LoadOptions, out *progress.Reporter, hold *Lease, as ref.Name) ([]loaded, error) {
	b, err := bundle.Read(ctx, s.blobs, hold, r)
	if err != nil {
		return nil, err
	}
	found, err := b.Images()
	if err != nil {
		return nil, err
	}
	var images []loaded
	for _, i := range found {
		images = append(images, loaded{target: i.Target, names: i.Names})
	}
	if as.Path != "" {
		if len(images) != 1 {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("archive of %s holds %d images", as.Familiar(), len(images)))
		}
		images[0].names = []ref.Name{as}
	}
	for i := range images {
		if err := s.checkLoaded(&images[i], o.Platforms, hold); err != nil {
			return nil, err
		}
	}
	for _, l := range images {
		for _, img := range l.unpack {
			if runnable(&img.Config) != nil {
				continue
			}
			if err := s.unpackLoaded(ctx, img, o.Quiet, out); err != nil {
				return nil, err
			}
		}
	}
	return images, s.nameLoaded(images)
}

// checkLoaded verifies that what an image needs is there, protects it, and decides what to unpack.
func (s *Store) checkLoaded(l *loaded, platforms []ocispec.Platform, hold *Lease) error {
	r := reach{}
	s.mark(r, l.target)
	hold.Add(slices.Collect(maps.Keys(r))...)
	if n, err := s.blobs.Stat(l.target.Digest); err != nil {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid archive: blob %s is missing", l.target.Digest))
	} else if err := checkSize(l.target, n); err != nil {
		return err
	}
	for _, n := range l.names {
		if n.Digest != "" && n.Digest != l.target.Digest {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid archive: it calls %s %s", l.target.Digest, n.Familiar()))
		}
	}
	doc, err := s.document(l.target)
	if err != nil {
		return fmt.Errorf("invalid archive: %w", err)
	}
	l.target.MediaType = doc.MediaType
	var complete []variant
	missing := l.target.Digest
	for _, v := range s.variants(l.target) {
		if v.attestation {
			continue
		}
		if d := s.firstMissing(v); d != "" {
			missing = d
			continue
		}
		if err := oci.CheckLayers(v.manifest, v.config); err != nil {
			return err
		}
		complete = append(complete, v)
	}
	if len(complete) == 0 {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid archive: no complete image in it: blob %s is missing or no image", missing))
	}
	return s.chooseLoaded(l, complete, platforms)
}

func (s *Store) chooseLoaded(l *loaded, complete []variant, platforms []ocispec.Platform) error {
	for _, p := range platforms {
		v, ok := choose(complete, &p)
		if !ok {
			return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("image does not provide the specified platform (%s)", oci.FormatPlatform(p)))
		}
		img, err := s.imageOf(l.target, v)
		if err != nil {
			return err
		}
		l.unpack = append(l.unpack, img)
	}
	if v, ok := choose(complete, nil); len(platforms) == 0 && ok && runnable(v.config) == nil {
		img, err := s.imageOf(l.target, v)
		if err != nil {
			return err
		}
		l.unpack = append(l.unpack, img)
	}
	return nil
}

// firstMissing is the first blob a variant needs that is not in the store as its descriptor says; "" when all are.
func (s *Store) firstMissing(v variant) digest.Digest {
	if !v.usable() {
		return v.desc.Digest
	}
	for _, d := range append([]ocispec.Descriptor{v.manifest.Config}, v.manifest.Layers...) {
		if n, err := s.blobs.Stat(d.Digest); err != nil || n != d.Size {
			return d.Digest
		}
	}
	return ""
}

func (s *Store) unpackLoaded(ctx context.Context, img *Image, quiet bool, out *progress.Reporter) error {
	report := func(t layerTask, p progress.State, done bool) {
		id := progress.ShortID(t.diffID)
		if p.Stage == progress.Extracting {
			out.Send(js.Message{ID: id, Status: "Loading layer", Progress: &js.Progress{Current: p.Current, Total: p.Total}})
		} else if done {
			out.Send(js.Message{ID: id, Status: "Loading layer", Progress: &js.Progress{Current: t.desc.Size, Total: t.desc.Size}})
		}
	}
	if quiet {
		report = nil
	}
	return s.unpackAll(ctx, nil, img.Layers, img.DiffIDs, report)
}

// nameLoaded gives all images their names at once.
func (s *Store) nameLoaded(images []loaded) error {
	return s.names.change(func(all map[string]record) (map[string]*record, error) {
		changes := map[string]*record{}
		now := time.Now()
		after := maps.Clone(all) // each image is named where those before it have been
		for _, l := range images {
			var names []string
			for _, n := range l.names {
				names = append(names, n.String())
			}
			if len(names) == 0 && len(namesOf(after, l.target.Digest)) == 0 {
				names = []string{l.target.Digest.String()}
			}
			for name, r := range repoint(after, l.target, now, names...) {
				changes[name] = r
				if r == nil {
					delete(after, name)
				} else {
					after[name] = *r
				}
			}
		}
		return changes, nil
	}, nil)
}
