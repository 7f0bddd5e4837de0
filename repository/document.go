package repository

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
)

// artifactManifest was a manifest of its own until the image manifest learnt artifactType.
const artifactManifest = "application/vnd.oci.artifact.manifest.v1+json"

// document is what a registry reads in a manifest of any kind.
type document struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       *ocispec.Descriptor  `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Blobs        []ocispec.Descriptor `json:"-"` // of an artifact manifest
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
	Annotations  map[string]string    `json:"annotations"`
}

// parse reads a manifest that was sent as mediaType. What can be read as two things is refused, and so is what says of
// itself something else than its sender: a client that trusts the one and a client that trusts the other must see the same.
func parse(mediaType string, body []byte) (*document, error) {
	mediaType, _, _ = strings.Cut(mediaType, ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	keys, err := oci.Keys(body)
	if err != nil {
		return nil, &Error{ManifestInvalid, err}
	}
	doc := new(document)
	if err := json.Unmarshal(body, doc); err != nil {
		return nil, invalid("the manifest cannot be read: %v", err)
	}
	if mediaType == "" {
		mediaType = doc.MediaType
	}
	if doc.MediaType != "" && doc.MediaType != mediaType {
		return nil, invalid("the manifest was sent as %q and calls itself %q", mediaType, doc.MediaType)
	}
	doc.MediaType = mediaType
	if mediaType == artifactManifest {
		var artifact struct{ Blobs []ocispec.Descriptor }
		if err := json.Unmarshal(body, &artifact); err != nil {
			return nil, invalid("the manifest cannot be read: %v", err)
		}
		doc.Blobs = artifact.Blobs
	}
	index, image := keys["manifests"], keys["config"] || keys["layers"]
	switch {
	case strings.HasPrefix(mediaType, "application/vnd.docker.distribution.manifest.v1+") || keys["fsLayers"]:
		return nil, invalid("manifests of Docker schema 1 are not supported")
	case index && image:
		return nil, invalid("ambiguous manifest: it has the keys of an index and of a manifest")
	case oci.IsIndex(mediaType) && !index, oci.IsManifest(mediaType) && !image, mediaType == artifactManifest && (index || image):
		return nil, invalid("the manifest was sent as %q but is none", mediaType)
	case !oci.IsDocument(mediaType) && mediaType != artifactManifest:
		return nil, invalid("manifests of media type %q are not supported", mediaType)
	case oci.IsManifest(mediaType) && doc.Config == nil:
		return nil, invalid("the manifest has no config")
	}
	for _, d := range append(doc.children(), doc.entries()...) {
		if err := checkDescriptor(d); err != nil {
			return nil, err
		}
	}
	if doc.Subject != nil {
		return doc, checkDescriptor(*doc.Subject)
	}
	return doc, nil
}

func checkDescriptor(d ocispec.Descriptor) error {
	if err := checkDigest(d.Digest); err != nil {
		return invalid("descriptor: %v", err)
	}
	if d.Size < 0 {
		return invalid("descriptor %s has size %d", d.Digest, d.Size)
	}
	return nil
}

// children are the blobs a manifest is made of.
func (d *document) children() []ocispec.Descriptor {
	var all []ocispec.Descriptor
	if d.Config != nil {
		all = append(all, *d.Config)
	}
	return append(append(all, d.Layers...), d.Blobs...)
}

// entries are the manifests of an index.
func (d *document) entries() []ocispec.Descriptor { return d.Manifests }

// elsewhere tells whether the content of d may lie at other places than this registry.
func elsewhere(d ocispec.Descriptor) bool {
	return len(d.URLs) > 0 || strings.Contains(d.MediaType, ".layer.nondistributable.") || strings.Contains(d.MediaType, ".rootfs.foreign.")
}

// artifactType is what a list of referrers calls the manifest.
func (d *document) artifactType() string {
	if d.ArtifactType == "" && d.Config != nil {
		return d.Config.MediaType
	}
	return d.ArtifactType
}

// record is what the registry keeps of a manifest beside its bytes.
type record struct {
	MediaType string          `json:"mediaType"`
	Size      int64           `json:"size"`
	Subject   digest.Digest   `json:"subject,omitempty"`
	Blobs     []digest.Digest `json:"blobs,omitempty"`
	Manifests []digest.Digest `json:"manifests,omitempty"`
}

func invalid(format string, args ...any) error {
	return &Error{ManifestInvalid, fmt.Errorf(format+": %w", append(args, errdefs.ErrInvalidArgument)...)}
}
