package bundle

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
)

// Entry is one image in the manifest.json of a Docker archive.
type Entry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerArchive reads manifest.json and makes the manifests that such archives lack, always the same for the same content.
func (b *Bundle) dockerArchive() ([]Image, error) {
	var entries []Entry
	if err := json.Unmarshal(b.documents["manifest.json"], &entries); err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid archive: manifest.json: %v", err))
	}
	if len(entries) == 0 {
		return nil, errdefs.ErrInvalidArgument.WithMessage("invalid archive: manifest.json lists no image")
	}
	var out []Image
	for _, e := range entries {
		target, err := b.dockerImage(e)
		if err != nil {
			return nil, err
		}
		l := Image{Target: target}
		for _, tag := range e.RepoTags {
			n, err := ref.ParseTagged(tag)
			if err != nil {
				return nil, fmt.Errorf("invalid archive: image name %q: %w", tag, err)
			}
			l.Names = append(l.Names, n)
		}
		out = append(out, l)
	}
	return out, nil
}

func (b *Bundle) dockerImage(e Entry) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	config, err := b.find(e.Config)
	if err != nil {
		return none, err
	}
	config.MediaType = ocispec.MediaTypeImageConfig
	body, err := b.blobs.Read(config.Digest, oci.MaxConfig)
	if err != nil {
		return none, fmt.Errorf("invalid archive: %w", err)
	}
	img, err := oci.ParseImage(body)
	if err != nil {
		return none, fmt.Errorf("invalid archive: %w", err)
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{}}
	for _, name := range e.Layers {
		layer, err := b.find(name)
		if err != nil {
			return none, err
		}
		if layer.MediaType, err = b.layerType(layer.Digest); err != nil {
			return none, err
		}
		m.Layers = append(m.Layers, layer)
	}
	if err := oci.CheckLayers(&m, &img); err != nil {
		return none, err
	}
	body, err = json.Marshal(m)
	if err != nil {
		return none, fmt.Errorf("make manifest: %w", err)
	}
	d := digest.FromBytes(body)
	b.hold.Add(d)
	if err := b.blobs.Put(d, body); err != nil {
		return none, err
	}
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: d, Size: int64(len(body))}, nil
}

// layerType tells by its first bytes what kind of layer a blob is.
func (b *Bundle) layerType(d digest.Digest) (string, error) {
	f, _, err := b.blobs.Open(d)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return "", fmt.Errorf("read layer %s: %w", d, err)
	}
	switch head = head[:n]; {
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		return ocispec.MediaTypeImageLayerGzip, nil
	case slices.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return ocispec.MediaTypeImageLayerZstd, nil
	}
	return ocispec.MediaTypeImageLayer, nil
}
