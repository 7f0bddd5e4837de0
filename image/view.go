package image

import (
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
)

// maxDepth is how deep indexes may lie in indexes.
const maxDepth = 4

// variant is one manifest that a target leads to.
type variant struct {
	desc        ocispec.Descriptor
	manifest    *ocispec.Manifest // nil: not in the store
	config      *oci.Image        // nil: not in the store, or no image
	attestation bool
}

// platform is what the index or else the config says.
func (v variant) platform() ocispec.Platform {
	switch {
	case v.desc.Platform != nil && v.desc.Platform.OS != "":
		return *v.desc.Platform
	case v.config != nil:
		return v.config.Platform
	}
	return ocispec.Platform{}
}

// usable tells whether the variant is an image whose documents are here.
func (v variant) usable() bool { return !v.attestation && v.manifest != nil && v.config != nil }

// document reads an index or manifest from the store.
func (s *Store) document(desc ocispec.Descriptor) (oci.Document, error) {
	if doc, ok := s.documents.Get(desc.Digest); ok && s.blobs.Has(desc.Digest) {
		return doc, nil
	}
	body, err := s.blobs.Read(desc.Digest, oci.MaxDocument)
	if err != nil {
		return oci.Document{}, err
	}
	doc, err := oci.Parse(desc.MediaType, body)
	if err != nil {
		return oci.Document{}, fmt.Errorf("document %s: %w", desc.Digest, err)
	}
	s.documents.Put(desc.Digest, doc, len(body))
	return doc, nil
}

// config reads an image config from the store.
func (s *Store) config(d digest.Digest) (*oci.Image, error) {
	if img, ok := s.configs.Get(d); ok && s.blobs.Has(d) {
		return img, nil
	}
	body, err := s.blobs.Read(d, oci.MaxConfig)
	if err != nil {
		return nil, err
	}
	parsed, err := oci.ParseImage(body)
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", d, err)
	}
	s.configs.Put(d, &parsed, len(body))
	return &parsed, nil
}

// variants lists what target leads to, in the order of the documents. Absent and unreadable documents are listed as such.
func (s *Store) variants(target ocispec.Descriptor) []variant { return s.variantsAt(target, 0) }

func (s *Store) variantsAt(desc ocispec.Descriptor, depth int) []variant {
	v := variant{desc: desc, attestation: oci.IsAttestation(desc)}
	doc, err := s.document(desc)
	if err != nil || depth > maxDepth {
		return []variant{v}
	}
	if doc.Index == nil {
		v.manifest = doc.Manifest
		if !v.attestation {
			v.config, _ = s.config(doc.Manifest.Config.Digest)
		}
		return []variant{v}
	}
	var out []variant
	for _, child := range doc.Index.Manifests {
		out = append(out, s.variantsAt(child, depth+1)...)
	}
	return out
}

// choose picks the variant for platform. For nil it is the best for this host, else the first that is usable.
func choose(list []variant, platform *ocispec.Platform) (variant, bool) {
	best, bestRank := -1, 0
	for i, v := range list {
		if !v.usable() {
			continue
		}
		rank := rankFor(platform, v.platform())
		if rank >= 0 && (best < 0 || rank < bestRank) {
			best, bestRank = i, rank
		}
	}
	if best < 0 && platform == nil {
		for _, v := range list {
			if v.usable() {
				return v, true
			}
		}
	}
	if best < 0 {
		return variant{}, false
	}
	return list[best], true
}

func rankFor(platform *ocispec.Platform, have ocispec.Platform) int {
	if platform != nil {
		return oci.Rank(*platform, have)
	}
	return oci.RankHost(have)
}

// image makes the Image of target for platform. reference is what the user called it, for messages.
func (s *Store) image(target ocispec.Descriptor, platform *ocispec.Platform, reference string) (*Image, error) {
	list := s.variants(target)
	v, ok := choose(list, platform)
	if !ok {
		want := oci.Host()
		if platform != nil {
			want = *platform
		}
		return nil, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("image with reference %s was found but does not provide the specified platform (%s)", reference, oci.FormatPlatform(want)))
	}
	return s.imageOf(target, v)
}

func (s *Store) imageOf(target ocispec.Descriptor, v variant) (*Image, error) {
	if err := oci.CheckLayers(v.manifest, v.config); err != nil {
		return nil, err
	}
	img := &Image{ID: target.Digest, Target: target, Manifest: v.desc, Config: *v.config, DiffIDs: v.config.RootFS.DiffIDs, Layers: v.manifest.Layers}
	names := s.names.of(target.Digest)
	img.RepoTags, img.RepoDigests = repoTagsAndDigests(names, target.Digest)
	for _, name := range names {
		if r, ok := s.names.get(name); ok && r.Tagged.After(img.LastTagged) {
			img.LastTagged = r.Tagged
		}
	}
	img.Size = s.contentSize(v) + s.unpackedSize(v)
	return img, nil
}

// contentSize is what a variant's blobs take, each counted once.
func (s *Store) contentSize(v variant) int64 {
	if v.manifest == nil {
		return s.sizeHere(v.desc.Digest)
	}
	total := v.desc.Size
	if v.config != nil { // it has just been read
		total += v.manifest.Config.Size
	} else {
		total += s.sizeHere(v.manifest.Config.Digest)
	}
	for i, l := range v.manifest.Layers {
		if !slices.ContainsFunc(v.manifest.Layers[:i], func(o ocispec.Descriptor) bool { return o.Digest == l.Digest }) {
			total += s.sizeHere(l.Digest)
		}
	}
	return total
}

// sizeHere is what a blob takes, 0 when it is not there.
func (s *Store) sizeHere(d digest.Digest) int64 {
	n, err := s.blobs.Stat(d)
	if err != nil {
		return 0
	}
	return n
}

// unpackedSize is what a variant's unpacked layers take, each counted once.
func (s *Store) unpackedSize(v variant) int64 {
	if v.config == nil {
		return 0
	}
	var total int64
	seen := map[digest.Digest]bool{}
	for _, d := range v.config.RootFS.DiffIDs {
		if !seen[d] && s.layers.Has(d) {
			total += s.layers.Size(d)
		}
		seen[d] = true
	}
	return total
}
