package image

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
)

// maxProbes is how many entries of an index that name no platform are looked into.
const maxProbes = 32

// plan is what a pull found out before it fetches layers. The documents are in the store, protected by the pull's lease.
type plan struct {
	target   ocispec.Descriptor
	manifest ocispec.Descriptor
	layers   []ocispec.Descriptor
	config   *oci.Image
	// roots are all documents it has read, outermost first.
	roots []ocispec.Descriptor
	// beside are attestations that speak of the manifest.
	beside []ocispec.Descriptor
}

// planner makes a plan by asking a registry.
type planner struct {
	store    *Store
	src      source
	platform *ocispec.Platform
	hold     *Lease
	known    bool // a document named by its digest is taken from the store where that has it
	plan     plan
}

// errNoMatch tells that an index has nothing for the platform.
var errNoMatch = errors.New("no matching manifest")

func (p *planner) run(ctx context.Context) (*plan, error) {
	desc, body, err := p.top(ctx)
	if err != nil {
		return nil, pullError(p.src.name, err)
	}
	doc, err := p.keep(&desc, body)
	if err != nil {
		return nil, err
	}
	p.plan.target = desc
	if doc.Manifest != nil {
		err = p.single(ctx, desc, doc)
	} else {
		err = p.index(ctx, doc, 0)
	}
	if errors.Is(err, errNoMatch) {
		want := oci.Host()
		if p.platform != nil {
			want = *p.platform
		}
		err = errdefs.ErrNotFound.WithMessage(fmt.Sprintf("no matching manifest for %s in the manifest list entries", oci.FormatPlatform(want)))
	}
	if err != nil {
		return nil, err
	}
	return &p.plan, nil
}

// top is the document that the name points to.
func (p *planner) top(ctx context.Context) (ocispec.Descriptor, []byte, error) {
	if d := p.src.name.Digest; d != "" && p.known {
		p.hold.Add(d)
		if body, err := p.store.blobs.Read(d, oci.MaxDocument); err == nil {
			return ocispec.Descriptor{Digest: d, Size: int64(len(body))}, body, nil
		}
	}
	return p.store.manifest(ctx, p.src, p.src.name)
}

// keep parses a document and puts it into the store.
func (p *planner) keep(desc *ocispec.Descriptor, body []byte) (oci.Document, error) {
	doc, err := oci.Parse(desc.MediaType, body)
	if err != nil {
		return doc, err
	}
	desc.MediaType = doc.MediaType
	p.hold.Add(desc.Digest)
	if err := p.store.blobs.Put(desc.Digest, body); err != nil {
		return doc, err
	}
	p.plan.roots = append(p.plan.roots, *desc)
	return doc, nil
}

// child fetches a document that an index names, unless the store has it.
func (p *planner) child(ctx context.Context, desc *ocispec.Descriptor) (oci.Document, error) {
	p.hold.Add(desc.Digest)
	if doc, err := p.store.document(*desc); err == nil {
		p.plan.roots = append(p.plan.roots, *desc)
		return doc, nil
	}
	name := p.src.name.WithDigest(desc.Digest)
	got, body, err := p.store.manifest(ctx, p.src, name)
	if err != nil {
		return oci.Document{}, pullError(name, err)
	}
	if err := checkSize(*desc, got.Size); err != nil {
		return oci.Document{}, err
	}
	if desc.MediaType != "" && desc.MediaType != got.MediaType && oci.IsDocument(got.MediaType) {
		return oci.Document{}, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("ambiguous manifest %s: the index calls it %q, the registry %q", desc.Digest, desc.MediaType, got.MediaType))
	}
	return p.keep(desc, body)
}

// index chooses among the entries: one whose platform is named and fits best; else those are looked into that name none.
func (p *planner) index(ctx context.Context, doc oci.Document, depth int) error {
	if depth > maxDepth {
		return errdefs.ErrInvalidArgument.WithMessage("image indexes lie too deep in one another")
	}
	best, bestRank := -1, 0
	var unclear []int
	for i, d := range doc.Index.Manifests {
		if oci.IsAttestation(d) {
			continue
		}
		if d.Platform == nil || d.Platform.OS == "" {
			unclear = append(unclear, i)
			continue
		}
		if rank := rankFor(p.platform, *d.Platform); rank >= 0 && (best < 0 || rank < bestRank) {
			best, bestRank = i, rank
		}
	}
	if best < 0 {
		return p.probe(ctx, doc, unclear, depth)
	}
	desc := doc.Index.Manifests[best]
	child, err := p.child(ctx, &desc)
	if err != nil {
		return err
	}
	p.findBeside(doc.Index.Manifests, desc.Digest)
	if child.Index != nil {
		return p.index(ctx, child, depth+1)
	}
	img, err := p.readConfig(ctx, child)
	if err != nil {
		return err
	}
	return p.decide(desc, child, img)
}

func (p *planner) findBeside(entries []ocispec.Descriptor, of digest.Digest) {
	for _, d := range entries {
		if oci.IsAttestation(d) && d.Annotations[oci.AttestationFor] == of.String() {
			p.plan.beside = append(p.plan.beside, d)
		}
	}
}

// probe fetches entries without platform, with their configs, until one fits.
func (p *planner) probe(ctx context.Context, doc oci.Document, entries []int, depth int) error {
	for _, i := range entries[:min(len(entries), maxProbes)] {
		desc := doc.Index.Manifests[i]
		child, err := p.child(ctx, &desc)
		if err != nil {
			return err
		}
		if child.Index != nil {
			if err := p.index(ctx, child, depth+1); !errors.Is(err, errNoMatch) {
				return err
			}
			continue
		}
		if !isImage(child.Manifest.Config.MediaType) {
			continue
		}
		img, err := p.readConfig(ctx, child)
		if err != nil {
			return err
		}
		if rankFor(p.platform, img.Platform) >= 0 {
			p.findBeside(doc.Index.Manifests, desc.Digest)
			return p.decide(desc, child, img)
		}
	}
	return errNoMatch
}

// single takes the only manifest there is. Another architecture is the user's choice, another operating system is not.
func (p *planner) single(ctx context.Context, desc ocispec.Descriptor, doc oci.Document) error {
	img, err := p.readConfig(ctx, doc)
	if err != nil {
		return err
	}
	if p.platform == nil || p.platform.OS == oci.Host().OS {
		if err := runnable(img); err != nil {
			return err
		}
	}
	if p.platform != nil && img.Architecture != "" && oci.Rank(*p.platform, img.Platform) < 0 {
		return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("image with reference %s was found but does not provide the specified platform (%s)", p.src.name.Familiar(), oci.FormatPlatform(*p.platform)))
	}
	return p.decide(desc, doc, img)
}

// runnable refuses an image for another operating system, whose layers are never unpacked: it is errdefs.ErrInvalidArgument.
func runnable(img *oci.Image) error {
	if img.OS == "" || strings.EqualFold(img.OS, oci.Host().OS) {
		return nil
	}
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("image operating system %q cannot be used on this platform: operating system is not supported", img.OS))
}

// isImage tells whether a config of this media type may be an image's; some registries and tools give none that is right.
func isImage(mediaType string) bool {
	return oci.IsConfig(mediaType) || mediaType == "" || mediaType == "application/octet-stream"
}

func (p *planner) readConfig(ctx context.Context, doc oci.Document) (*oci.Image, error) {
	desc := doc.Manifest.Config
	if !isImage(desc.MediaType) {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%s is not a container image: its config is %q", p.src.name.Familiar(), desc.MediaType))
	}
	if desc.Size > oci.MaxConfig {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("image config of %d bytes is larger than %d", desc.Size, oci.MaxConfig))
	}
	p.hold.Add(desc.Digest)
	if err := p.store.fetch(ctx, &p.src, desc, nil); err != nil {
		return nil, err
	}
	return p.store.config(desc.Digest)
}

func (p *planner) decide(desc ocispec.Descriptor, doc oci.Document, img *oci.Image) error {
	if err := oci.CheckLayers(doc.Manifest, img); err != nil {
		return err
	}
	for _, l := range doc.Manifest.Layers {
		if !oci.IsLayer(l.MediaType) && !isImage(l.MediaType) {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("layer %s is not a file system: its media type is %q", l.Digest, l.MediaType))
		}
	}
	p.plan.manifest, p.plan.layers, p.plan.config = desc, doc.Manifest.Layers, img
	return nil
}
