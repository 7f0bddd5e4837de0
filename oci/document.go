// Package oci holds the documents images are made of: indexes, manifests and configs, as the OCI image
// specification and Docker write them, with the checks that must hold before anything in them is believed.
package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is an image config: OCI's, with Docker's Healthcheck, OnBuild and Shell.
type Image = dockerspec.DockerOCIImage

// ImageConfig is the part of Image that containers inherit.
type ImageConfig = dockerspec.DockerOCIImageConfig

// Largest documents believed. They are read into memory, so a registry or an archive must not choose.
const (
	MaxDocument = 8 << 20
	MaxConfig   = 16 << 20
)

// Document is an image index or an image manifest: exactly one of Index and Manifest is set.
type Document struct {
	MediaType string
	Index     *ocispec.Index
	Manifest  *ocispec.Manifest
}

// Children are the descriptors a document points to, in its order: of an index its manifests, of a manifest
// its config and then its layers.
func (d Document) Children() []ocispec.Descriptor {
	if d.Index != nil {
		return d.Index.Manifests
	}
	return append([]ocispec.Descriptor{d.Manifest.Config}, d.Manifest.Layers...)
}

// Parse reads an index or a manifest. mediaType is what the sender called it; "" when nobody said. It
// refuses what can be read as two things: both shapes in one body, a body that calls itself something else
// than its sender did, keys that differ in case only. Schema 1 is refused by name. Errors are
// errdefs.ErrInvalidArgument.
func Parse(mediaType string, body []byte) (Document, error) {
	mediaType, _, _ = strings.Cut(mediaType, ";")
	mediaType = strings.TrimSpace(mediaType)
	if len(body) > MaxDocument {
		return Document{}, invalid("manifest of %d bytes is larger than %d", len(body), MaxDocument)
	}
	var head struct {
		SchemaVersion int    `json:"schemaVersion"`
		MediaType     string `json:"mediaType"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return Document{}, invalid("manifest is not a JSON document (media type %q): %v", mediaType, err)
	}
	keys, err := Keys(body)
	if err != nil {
		return Document{}, err
	}
	if isSchema1(mediaType) || isSchema1(head.MediaType) || head.SchemaVersion == 1 {
		return Document{}, invalid("manifest is of Docker schema 1 (media type %q), which is not supported: have the image pushed again in schema 2 or OCI format", Schema1)
	}
	if head.SchemaVersion != 2 {
		return Document{}, invalid("manifest has schemaVersion %d, only 2 is known", head.SchemaVersion)
	}
	index, manifest := keys["manifests"], keys["config"] || keys["layers"]
	switch {
	case index && manifest:
		return Document{}, invalid("ambiguous manifest: it has the keys of an index and of a manifest")
	case !index && !manifest:
		return Document{}, invalid("document of media type %q is neither an image index nor an image manifest", mediaType)
	case head.MediaType != "" && IsDocument(mediaType) && head.MediaType != mediaType:
		return Document{}, invalid("ambiguous manifest: served as %q, it calls itself %q", mediaType, head.MediaType)
	}
	kind := head.MediaType
	if kind == "" && IsDocument(mediaType) {
		kind = mediaType
	}
	if index {
		return parseIndex(kind, body)
	}
	return parseManifest(kind, body)
}

func parseIndex(mediaType string, body []byte) (Document, error) {
	if mediaType == "" {
		mediaType = ocispec.MediaTypeImageIndex
	}
	if !IsIndex(mediaType) {
		return Document{}, invalid("ambiguous manifest: an index that calls itself %q", mediaType)
	}
	doc := Document{MediaType: mediaType, Index: new(ocispec.Index)}
	if err := json.Unmarshal(body, doc.Index); err != nil {
		return Document{}, invalid("read index: %v", err)
	}
	return doc, checkDescriptors(doc.Children())
}

func parseManifest(mediaType string, body []byte) (Document, error) {
	if mediaType == "" {
		mediaType = ocispec.MediaTypeImageManifest
	}
	if !IsManifest(mediaType) {
		return Document{}, invalid("ambiguous manifest: an image manifest that calls itself %q", mediaType)
	}
	doc := Document{MediaType: mediaType, Manifest: new(ocispec.Manifest)}
	if err := json.Unmarshal(body, doc.Manifest); err != nil {
		return Document{}, invalid("read manifest: %v", err)
	}
	return doc, checkDescriptors(doc.Children())
}

// ParseImage reads an image config. Errors are errdefs.ErrInvalidArgument.
func ParseImage(body []byte) (Image, error) {
	var img Image
	if len(body) > MaxConfig {
		return img, invalid("image config of %d bytes is larger than %d", len(body), MaxConfig)
	}
	if err := json.Unmarshal(body, &img); err != nil {
		return img, invalid("read image config: %v", err)
	}
	for _, d := range img.RootFS.DiffIDs {
		if err := CheckDigest(d); err != nil {
			return img, fmt.Errorf("image config: diff ID: %w", err)
		}
	}
	return img, nil
}

// CheckLayers holds a manifest and its config against each other. The error is errdefs.ErrInvalidArgument.
func CheckLayers(m *ocispec.Manifest, c *Image) error {
	if len(m.Layers) != len(c.RootFS.DiffIDs) {
		return invalid("invalid image: layers from manifest don't match image configuration: %d layers, %d diff IDs", len(m.Layers), len(c.RootFS.DiffIDs))
	}
	for _, l := range m.Layers {
		if strings.HasSuffix(l.MediaType, "+encrypted") {
			return invalid("layer %s is encrypted (%s), and nothing here can decrypt it", l.Digest, l.MediaType)
		}
	}
	return nil
}

// CheckDigest accepts well-formed SHA-256 digests, the only ones used here as names.
func CheckDigest(d digest.Digest) error {
	if d.Validate() != nil {
		return invalid("%q is not a digest", string(d))
	}
	if d.Algorithm() != digest.SHA256 {
		return invalid("digest algorithm %q is not supported, only sha256 is", d.Algorithm())
	}
	return nil
}

func checkDescriptors(list []ocispec.Descriptor) error {
	for _, d := range list {
		if err := CheckDigest(d.Digest); err != nil {
			return fmt.Errorf("descriptor: %w", err)
		}
		if d.Size < 0 {
			return invalid("descriptor %s has size %d", d.Digest, d.Size)
		}
	}
	return nil
}

// known are the keys whose meaning must not depend on how a reader treats case or repetition.
var known = []string{"schemaVersion", "mediaType", "manifests", "config", "layers", "fsLayers"}

// Keys returns the names in the outermost object of a document; one whose meaning must not depend on the reader, given
// twice or in another case, is errdefs.ErrInvalidArgument.
func Keys(body []byte) (map[string]bool, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, invalid("manifest is not a JSON object")
	}
	keys := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, invalid("read manifest: %v", err)
		}
		key, _ := t.(string)
		if i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, key) }); i >= 0 && (keys[key] || known[i] != key) {
			return nil, invalid("ambiguous manifest: key %q is repeated or written in another case", key)
		}
		keys[key] = true
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return nil, invalid("read manifest: %v", err)
		}
		if string(skip) == "null" {
			delete(keys, key)
		}
	}
	return keys, nil
}

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}
