package result

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/util/purl"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/package-url/packageurl-go"

	"github.com/cove-containers/cove/build/attest"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
)

// attestationType is what the manifest of an image's attestations is.
const attestationType = "application/vnd.docker.attestation.manifest.v1+json"

// made is an image in the blob store.
type made struct {
	root ocispec.Descriptor
	// config is that of an image for one platform, "" of an index.
	config  digest.Digest
	created time.Time
	images  []variant
	// content are all blobs, documents included, that the root leads to, each once.
	content []ocispec.Descriptor
}

// variant is an image for one platform.
type variant struct {
	platform exptypes.Platform
	manifest ocispec.Descriptor
	config   ocispec.Descriptor
	layers   []Layer
	// pile is what the layers are here, in step with them; empty when they are nothing that is here.
	pile layer.Pile
}

// make makes the image, without a name.
func (x *export) make(ctx context.Context, names []ref.Name) (*made, error) {
	ps, err := x.result.Platforms()
	if err != nil {
		return nil, err
	}
	if err := x.checkNotes(ps); err != nil {
		return nil, err
	}
	m := &made{}
	end := x.step("exporting layers")
	for _, p := range ps {
		v, err := x.variant(ctx, p, m)
		if err != nil {
			return nil, err
		}
		m.images = append(m.images, v)
	}
	end()
	statements, err := x.attestations(ctx, m, names)
	if err != nil {
		return nil, err
	}
	if !x.result.Multiple() && len(statements) == 0 {
		v := m.images[0]
		m.root, m.config = v.manifest, v.config.Digest
		m.root.Platform = &v.platform.Platform
		if kinds := []string{exptypes.AnnotationIndex, exptypes.AnnotationIndexDescriptor}; x.annotated(kinds...) {
			return nil, invalid("index annotations not supported for single platform export")
		}
		return m, nil
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Annotations: x.o.annotations(exptypes.AnnotationIndex, nil)}
	if !x.o.ociNames() {
		index.MediaType = oci.DockerManifestList
	}
	for _, v := range m.images {
		d := v.manifest
		d.Platform = &v.platform.Platform
		index.Manifests = append(index.Manifests, d)
	}
	index.Manifests = append(index.Manifests, statements...)
	m.root, err = x.document("manifest list", index, index.MediaType, m)
	m.root.Annotations = x.o.annotations(exptypes.AnnotationIndexDescriptor, nil)
	return m, err
}

func (x *export) annotated(kinds ...string) bool {
	for _, kind := range kinds {
		if x.o.annotations(kind, nil) != nil {
			return true
		}
	}
	return false
}

func (x *export) checkNotes(ps []exptypes.Platform) error {
	known := map[string]bool{"": true}
	for _, p := range ps {
		known[platforms.FormatAll(p.Platform)] = true
	}
	for _, n := range x.o.notes {
		if !known[n.platform] {
			return invalid("invalid annotation: no platform %s found in source", n.platform)
		}
	}
	return nil
}

// variant makes the image for one platform.
func (x *export) variant(ctx context.Context, p exptypes.Platform, m *made) (v variant, err error) {
	v.platform = p
	r, err := x.result.ref(p)
	if err != nil {
		return v, err
	}
	base, err := x.base(p)
	if err != nil {
		return v, err
	}
	at, err := x.epochOf(p)
	if err != nil {
		return v, err
	}
	stamp := at
	if !x.o.rewrite {
		stamp = nil
	} else if at == nil {
		x.env.Warn("rewrite-timestamp is specified, but no source-date-epoch was found", "")
	}
	below := 0
	if base != nil {
		for below < len(r.Pile) && below < len(base.RootFS.DiffIDs) && r.Pile[below] == base.RootFS.DiffIDs[below].String() {
			below++
		}
	}
	var same bool
	if v.layers, same, err = x.layers(ctx, r.Pile, below, stamp); err != nil {
		return v, err
	}
	if same {
		v.pile = r.Pile
	}
	c := configuring{config: x.result.meta(exptypes.ExporterImageConfigKey, p), base: base, layers: v.layers, epoch: at}
	if x.o.squash && len(r.Pile) > below {
		c.squash = len(r.Pile) - below
	}
	for _, l := range v.layers {
		c.times = append(c.times, x.Layers.Newest(layer.Pile{l.Name}))
	}
	if x.result.Inline != nil {
		if c.cache, err = x.result.Inline(ctx, p.ID, v.layers); err != nil {
			return v, err
		}
	}
	return v, x.manifest(&v, &c, m)
}

// manifest writes the config and the manifest of one platform.
func (x *export) manifest(v *variant, c *configuring, m *made) error {
	config, err := c.document()
	if err != nil {
		return err
	}
	var said struct{ Created time.Time }
	if err := json.Unmarshal(config, &said); err == nil && said.Created.After(m.created) {
		m.created = said.Created
	}
	kind, configKind := ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig
	if !x.o.ociNames() {
		kind, configKind = oci.DockerManifest, oci.DockerConfig
	}
	end := x.step("exporting config %s", digest.FromBytes(config))
	if v.config, err = x.put(config, configKind, m); err != nil {
		return err
	}
	end()
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: kind, Config: v.config, Layers: []ocispec.Descriptor{},
		Annotations: x.o.annotations(exptypes.AnnotationManifest, &v.platform.Platform),
	}
	for i := range v.layers {
		d := v.layers[i].Desc
		if !x.o.ociNames() {
			if d.MediaType, err = dockerType(d.MediaType); err != nil {
				return err
			}
		}
		v.layers[i].Desc = d
		manifest.Layers = append(manifest.Layers, d)
		m.add(d)
	}
	if v.manifest, err = x.document("manifest", manifest, kind, m); err != nil {
		return err
	}
	v.manifest.Annotations = x.o.annotations(exptypes.AnnotationManifestDescriptor, &v.platform.Platform)
	return nil
}

// document writes a document of an image.
func (x *export) document(what string, document any, mediaType string, m *made) (ocispec.Descriptor, error) {
	body, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("make %s: %w", what, err)
	}
	defer x.step("exporting %s %s", what, digest.FromBytes(body))()
	return x.put(body, mediaType, m)
}

func (x *export) put(body []byte, mediaType string, m *made) (ocispec.Descriptor, error) {
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))}
	x.hold.Add(desc.Digest)
	m.add(desc)
	return desc, x.Blobs.Put(desc.Digest, body)
}

func (m *made) add(d ocispec.Descriptor) {
	for _, other := range m.content {
		if other.Digest == d.Digest {
			return
		}
	}
	m.content = append(m.content, d)
}

// attestations writes the manifests of what is stated about the images.
func (x *export) attestations(ctx context.Context, m *made, names []ref.Name) ([]ocispec.Descriptor, error) {
	var out []ocispec.Descriptor
	for _, v := range m.images {
		var list []attest.Attestation
		for _, a := range x.result.Attestations[v.platform.ID] {
			if !a.InlineOnly || x.o.inline {
				list = append(list, a)
			}
		}
		if len(list) == 0 {
			continue
		}
		if !x.o.ociNames() {
			return nil, invalid(`cannot export attestations with "oci-mediatypes=false"`)
		}
		self := []attest.Named{}
		for _, n := range names {
			url, err := purl.RefToPURL(packageurl.TypeDocker, n.String(), &v.platform.Platform)
			if err != nil {
				return nil, err
			}
			self = append(self, attest.Self(url, v.manifest.Digest))
		}
		d, err := x.attested(ctx, v, list, self, m)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

func (x *export) attested(ctx context.Context, v variant, list []attest.Attestation, self []attest.Named, m *made) (ocispec.Descriptor, error) {
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	var diffIDs []digest.Digest
	for i := range list {
		a := &list[i]
		body, err := a.Statement(ctx, self)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		d, err := x.put(body, attest.PayloadType, m)
		if err != nil {
			return d, err
		}
		diffIDs = append(diffIDs, d.Digest)
		d.Annotations = map[string]string{"in-toto.io/predicate-type": a.Predicate}
		manifest.Layers = append(manifest.Layers, d)
	}
	var err error
	if x.o.artifact() {
		manifest.ArtifactType = attestationType
		manifest.Subject = &ocispec.Descriptor{MediaType: v.manifest.MediaType, Digest: v.manifest.Digest, Size: v.manifest.Size}
		manifest.Config = ocispec.DescriptorEmptyJSON
		_, err = x.put(ocispec.DescriptorEmptyJSON.Data, ocispec.MediaTypeEmptyJSON, m)
	} else {
		var config []byte
		config, err = json.Marshal(ocispec.Image{Platform: nowhere, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: diffIDs}})
		if err == nil {
			manifest.Config, err = x.put(config, ocispec.MediaTypeImageConfig, m)
		}
	}
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d, err := x.document("attestation manifest", manifest, manifest.MediaType, m)
	d.Platform = &nowhere
	d.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", oci.AttestationFor: v.manifest.Digest.String()}
	return d, err
}

// nowhere is the platform of what is no image.
var nowhere = ocispec.Platform{OS: "unknown", Architecture: "unknown"}

// response tells what was made in the words of BuildKit's exporters.
func (m *made) response(names []ref.Name, o *options) map[string]string {
	out := map[string]string{exptypes.ExporterImageDigestKey: m.root.Digest.String()}
	if m.config != "" && o.kind != Moby { // clients take it for the image's ID, which in the store is the digest
		out[exptypes.ExporterImageConfigDigestKey] = m.config.String()
	}
	root := m.root
	root.Annotations = maps.Clone(root.Annotations)
	if o.kind == OCI || o.kind == Docker {
		if root.Annotations == nil {
			root.Annotations = map[string]string{}
		}
		if root.Annotations[ocispec.AnnotationCreated] == "" {
			root.Annotations[ocispec.AnnotationCreated] = m.created.Format(time.RFC3339)
		}
	}
	if body, err := json.Marshal(root); err == nil {
		out[exptypes.ExporterImageDescriptorKey] = base64.StdEncoding.EncodeToString(body)
	}
	if len(names) > 0 {
		var full []string
		for _, n := range names {
			full = append(full, n.String())
		}
		out[exptypes.ExporterImageNameKey] = strings.Join(full, ",")
	}
	return out
}

// names reads what the image is to be called; without a tag or digest it is the latest.
func (x *export) names() ([]ref.Name, error) {
	given := x.o.names
	if given == "*" {
		given = string(x.result.Metadata[exptypes.ExporterImageNameKey])
	}
	var out []ref.Name
	for _, text := range splitNames(given) {
		n, err := ref.Parse(text)
		if err != nil {
			return nil, err
		}
		if n.Digest != "" && !x.o.byDigest {
			return nil, invalid("refusing to create a tag with a digest reference: %s", strconv.Quote(text))
		}
		if n.Tag == "" && !x.o.byDigest {
			n.Tag = "latest"
		}
		out = append(out, n)
	}
	if x.o.push && len(out) == 0 && (x.o.kind == Image || x.o.kind == Moby) {
		return nil, invalid("tag is needed when pushing to registry")
	}
	return out, nil
}
