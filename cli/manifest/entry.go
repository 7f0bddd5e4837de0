package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/cove-containers/cove/ref"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Kinds of documents that docker had before there was OCI.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// entry is a manifest as it stands in a list in the making. The form is that of docker's command line, which reads it too.
type entry struct {
	Ref        string
	Descriptor ocispec.Descriptor
	// Raw are the bytes as the registry has them.
	Raw []byte `json:",omitempty"`
	// One of these is the same once more, to be looked at.
	SchemaV2Manifest json.RawMessage `json:",omitempty"`
	OCIManifest      json.RawMessage `json:",omitempty"`
}

// newEntry makes an entry of a manifest called name.
func newEntry(name ref.Name, desc ocispec.Descriptor, raw []byte) entry {
	e := entry{Ref: name.String(), Descriptor: desc, Raw: raw}
	if desc.MediaType == dockerManifest {
		e.SchemaV2Manifest = raw
	} else {
		e.OCIManifest = raw
	}
	return e
}

// document is the manifest's text, in the registry's bytes where they are known.
func (e *entry) document() ([]byte, error) {
	for _, text := range [][]byte{e.Raw, e.OCIManifest, e.SchemaV2Manifest} {
		if len(text) > 0 {
			return text, nil
		}
	}
	return nil, fmt.Errorf("the manifest of %s is not here", e.Ref)
}

// blobs are the config and the layers of the manifest.
func (e *entry) blobs() ([]ocispec.Descriptor, error) {
	text, err := e.document()
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", e.Ref, err)
	}
	return append([]ocispec.Descriptor{m.Config}, m.Layers...), nil
}

// isList tells whether a document of this kind names others instead of layers.
func isList(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == dockerList
}

// list is a manifest list. Its fields stand in the order in which docker's command line writes them: the same list has
// the same digest, whoever pushes it.
type list struct {
	SchemaVersion int        `json:"schemaVersion"`
	MediaType     string     `json:"mediaType"`
	Manifests     []listItem `json:"manifests"`
}

type listItem struct {
	MediaType string        `json:"mediaType"`
	Size      int64         `json:"size"`
	Digest    digest.Digest `json:"digest"`
	Platform  platform      `json:"platform"`
}

type platform struct {
	Architecture string   `json:"architecture"`
	OS           string   `json:"os"`
	OSVersion    string   `json:"os.version,omitempty"`
	OSFeatures   []string `json:"os.features,omitempty"`
	Variant      string   `json:"variant,omitempty"`
}

// listOf puts entries together to the list called target, which lies in the same registry as all of them. strict
// refuses entries without a platform.
func listOf(target ref.Name, entries []entry, strict bool) (mediaType string, text []byte, err error) {
	l := list{SchemaVersion: 2, MediaType: dockerList}
	for _, e := range entries {
		name, err := ref.Parse(e.Ref)
		if err != nil {
			return "", nil, err
		}
		if name.Host != target.Host {
			return "", nil, fmt.Errorf("cannot use source images from a different registry than the target image: %s != %s", name.Host, target.Host)
		}
		item := listItem{MediaType: e.Descriptor.MediaType, Size: e.Descriptor.Size, Digest: e.Descriptor.Digest}
		if p := e.Descriptor.Platform; p != nil {
			item.Platform = platform{p.Architecture, p.OS, p.OSVersion, p.OSFeatures, p.Variant}
		}
		if strict && (item.Platform.OS == "" || item.Platform.Architecture == "") {
			return "", nil, fmt.Errorf("manifest %s must have an OS and Architecture to be pushed to a registry", e.Ref)
		}
		l.Manifests = append(l.Manifests, item)
	}
	if len(entries) > 0 && entries[0].Descriptor.MediaType == ocispec.MediaTypeImageManifest {
		l.MediaType = ocispec.MediaTypeImageIndex
	}
	text, err = json.MarshalIndent(l, "", "   ")
	return l.MediaType, text, err
}

// indent lays a document out to be read.
func indent(text []byte, with string) (string, error) {
	var b bytes.Buffer
	err := json.Indent(&b, bytes.TrimSpace(text), "", with)
	return b.String(), err
}
