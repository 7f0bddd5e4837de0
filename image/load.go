package image

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	js "github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

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
	hold := s.lease()
	images, err := s.load(ctx, r, o, out, hold, ref.Name{})
	hold.release()
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
	hold := s.lease()
	images, err := s.load(ctx, r, LoadOptions{Quiet: true}, out, hold, name)
	hold.release()
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
func (s *Store) load(ctx context.Context, r io.Reader, o LoadOptions, out *progress.Reporter, hold *lease, as ref.Name) ([]loaded, error) {
	b, err := s.readBundle(ctx, r, hold)
	if err != nil {
		return nil, err
	}
	images, err := b.images()
	if err != nil {
		return nil, err
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
			if err := s.unpackLoaded(ctx, img, o.Quiet, out); err != nil {
				return nil, err
			}
		}
	}
	return images, s.nameLoaded(images)
}

// images understands the archive.
func (b *bundle) images() ([]loaded, error) {
	switch {
	case b.documents["index.json"] != nil && b.documents["oci-layout"] != nil:
		return b.layout()
	case b.documents["manifest.json"] != nil:
		return b.dockerArchive()
	case b.documents["index.json"] != nil:
		return b.layout()
	case b.documents["repositories"] != nil:
		return nil, errdefs.ErrInvalidArgument.WithMessage("invalid archive: it is of the format before Docker 1.10, which is not supported: it has no manifest.json")
	}
	return nil, errdefs.ErrInvalidArgument.WithMessage("invalid archive: it holds no image: neither index.json nor manifest.json is in it")
}

// layout reads index.json; entries that name the same thing become one image with several names.
func (b *bundle) layout() ([]loaded, error) {
	doc, err := oci.Parse(ocispec.MediaTypeImageIndex, b.documents["index.json"])
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	if doc.Index == nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage("invalid archive: index.json is no index")
	}
	var out []loaded
	for _, d := range doc.Index.Manifests {
		if oci.IsAttestation(d) {
			continue
		}
		name, named, err := layoutName(d.Annotations)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(out, func(l loaded) bool { return l.target.Digest == d.Digest })
		if i < 0 {
			i = len(out)
			out = append(out, loaded{target: ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}})
		}
		if named && !slices.Contains(out[i].names, name) {
			out[i].names = append(out[i].names, name)
		}
	}
	if len(out) == 0 {
		return nil, errdefs.ErrInvalidArgument.WithMessage("invalid archive: index.json lists no image")
	}
	return out, nil
}

// layoutName reads the name an index gives an image. The reference annotation may hold a name or only a tag, and a tag alone names nothing.
func layoutName(annotations map[string]string) (ref.Name, bool, error) {
	full := annotations["io.containerd.image.name"]
	if full == "" {
		full = annotations[ocispec.AnnotationRefName]
		if !strings.ContainsAny(full, "/:") {
			return ref.Name{}, false, nil
		}
	}
	n, err := ref.ParseTagged(full)
	if err != nil {
		return ref.Name{}, false, fmt.Errorf("invalid archive: image name %q: %w", full, err)
	}
	return n, true, nil
}

// checkLoaded verifies that what an image needs is there, protects it, and decides what to unpack.
func (s *Store) checkLoaded(l *loaded, platforms []ocispec.Platform, hold *lease) error {
	r := reach{}
	s.mark(r, l.target)
	hold.add(slices.Collect(maps.Keys(r))...)
	if n, err := s.blobs.Stat(l.target.Digest); err != nil {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid archive: blob %s is missing", l.target.Digest))
	} else if err := checkSize(l.target, n); err != nil {
		return err
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
		if err := checkLayers(v.manifest, v.config); err != nil {
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
	if v, ok := choose(complete, nil); len(platforms) == 0 && ok && (v.platform().OS == "" || v.platform().OS == oci.Host().OS) {
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
