package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/image/bundle"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
)

// saved is one image to be written.
type saved struct {
	target  ocispec.Descriptor
	name    string // full, "" for none
	variant variant
}

// Save writes images as an archive that is an OCI layout and a Docker archive at once; the same images give the same bytes.
// With one platform only its manifest is written, with several the whole index but only their content.
func (s *Store) Save(ctx context.Context, references []string, platforms []ocispec.Platform, w io.Writer) error {
	hold := s.Lease()
	defer hold.Release()
	content := map[digest.Digest]bool{} // true: the archive is not whole without it
	var list []saved
	for _, reference := range s.withAllTags(references) {
		f, err := s.find(reference)
		if err != nil {
			return err
		}
		one, err := s.toSave(f, reference, platforms, content)
		if err != nil {
			return err
		}
		list = append(list, one)
	}
	hold.Add(slices.Collect(maps.Keys(content))...)
	if err := s.writeBundle(ctx, w, list, content); err != nil {
		return fmt.Errorf("save images: %w", err)
	}
	for _, one := range list {
		s.emit("save", one.target.Digest.String(), map[string]string{"name": one.target.Digest.String()})
	}
	return nil
}

// withAllTags replaces repositories without a tag by all names in them, as docker save reads them.
func (s *Store) withAllTags(references []string) []string {
	var out []string
	for _, reference := range references {
		n, err := ref.Parse(reference)
		var tagged []string
		if err == nil && n.Tag == "" && n.Digest == "" {
			for full := range s.names.snapshot() {
				if other, err := ref.Parse(full); err == nil && other.Tag != "" && other.Repository() == n.Repository() {
					tagged = append(tagged, full)
				}
			}
		}
		if len(tagged) == 0 {
			tagged = []string{reference}
		}
		slices.Sort(tagged)
		out = append(out, tagged...)
	}
	return out
}

// toSave decides what of an image is written and adds it to content.
func (s *Store) toSave(f found, reference string, platforms []ocispec.Platform, content map[digest.Digest]bool) (saved, error) {
	one := saved{target: f.target, name: f.name}
	if n, err := ref.Parse(f.name); err != nil || n.Tag == "" {
		one.name = ""
	}
	list := s.variants(f.target)
	var wanted []variant
	for i := range max(1, len(platforms)) {
		var p *ocispec.Platform
		if len(platforms) > 0 {
			p = &platforms[i]
		}
		v, ok := choose(list, p)
		if !ok || s.firstMissing(v) != "" {
			return one, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("image %s does not have all its content here (%s)", reference, platformName(p)))
		}
		wanted = append(wanted, v)
	}
	one.variant = wanted[0]
	if len(platforms) == 0 {
		wanted = append(wanted, list...) // the others as far as they are here
	}
	if len(platforms) == 1 {
		one.target = one.variant.desc
		one.target.Platform, one.target.Annotations = nil, nil
	} else {
		s.addDocuments(f.target, content, 0)
	}
	for i, v := range wanted {
		need := len(platforms) > 0 || i == 0
		add := func(d digest.Digest) { content[d] = content[d] || need }
		add(v.desc.Digest)
		if v.manifest == nil {
			continue
		}
		add(v.manifest.Config.Digest)
		for _, l := range v.manifest.Layers {
			add(l.Digest)
		}
	}
	return one, nil
}

func platformName(p *ocispec.Platform) string {
	if p == nil {
		return oci.FormatPlatform(oci.Host())
	}
	return oci.FormatPlatform(*p)
}

// addDocuments adds target and the indexes below it, as far as they are here.
func (s *Store) addDocuments(desc ocispec.Descriptor, content map[digest.Digest]bool, depth int) {
	doc, err := s.document(desc)
	content[desc.Digest] = content[desc.Digest] || err == nil || depth == 0
	if err != nil || doc.Index == nil || depth > maxDepth {
		return
	}
	for _, child := range doc.Index.Manifests {
		if oci.IsIndex(child.MediaType) {
			s.addDocuments(child, content, depth+1)
		}
	}
}

func (s *Store) writeBundle(ctx context.Context, w io.Writer, list []saved, content map[digest.Digest]bool) error {
	t := tar.NewWriter(w)
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := t.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			return err
		}
	}
	for _, d := range slices.Sorted(maps.Keys(content)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.writeBlob(t, d); err != nil && (content[d] || !errdefs.IsNotFound(err)) {
			return err
		}
	}
	index, manifest := indexOf(list), dockerEntries(list)
	layout := ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}
	for _, doc := range []struct {
		name string
		body any
	}{{"index.json", index}, {"manifest.json", manifest}, {"oci-layout", layout}} {
		body, err := json.Marshal(doc.body)
		if err != nil {
			return err
		}
		if err := t.WriteHeader(&tar.Header{Name: doc.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body))}); err != nil {
			return err
		}
		if _, err := t.Write(body); err != nil {
			return err
		}
	}
	return t.Close()
}

func (s *Store) writeBlob(t *tar.Writer, d digest.Digest) error {
	f, size, err := s.blobs.Open(d)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := t.WriteHeader(&tar.Header{Name: blobName(d), Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}

func blobName(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

// indexOf makes index.json: one entry for each name.
func indexOf(list []saved) ocispec.Index {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	for _, one := range list {
		d := one.target
		if n, err := ref.Parse(one.name); one.name != "" && err == nil {
			d.Annotations = map[string]string{"io.containerd.image.name": n.String(), ocispec.AnnotationRefName: n.Tag}
		}
		if !slices.ContainsFunc(index.Manifests, func(o ocispec.Descriptor) bool {
			return o.Digest == d.Digest && maps.Equal(o.Annotations, d.Annotations)
		}) {
			index.Manifests = append(index.Manifests, d)
		}
	}
	return index
}

// dockerEntries makes manifest.json: one entry for each image, with all its names.
func dockerEntries(list []saved) []bundle.Entry {
	var out []bundle.Entry
	at := map[digest.Digest]int{}
	for _, one := range list {
		i, ok := at[one.target.Digest]
		if !ok {
			i = len(out)
			at[one.target.Digest] = i
			e := bundle.Entry{Config: blobName(one.variant.manifest.Config.Digest), RepoTags: []string{}, Layers: []string{}}
			for _, l := range one.variant.manifest.Layers {
				e.Layers = append(e.Layers, blobName(l.Digest))
			}
			out = append(out, e)
		}
		if n, err := ref.Parse(one.name); one.name != "" && err == nil && !slices.Contains(out[i].RepoTags, n.Familiar()) {
			out[i].RepoTags = append(out[i].RepoTags, n.Familiar())
		}
	}
	return out
}
