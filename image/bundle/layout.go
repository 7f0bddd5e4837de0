package bundle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
)

// Images understands the archive.
func (b *Bundle) Images() ([]Image, error) {
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
func (b *Bundle) layout() ([]Image, error) {
	doc, err := oci.Parse(ocispec.MediaTypeImageIndex, b.documents["index.json"])
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	if doc.Index == nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage("invalid archive: index.json is no index")
	}
	var out []Image
	for _, d := range doc.Index.Manifests {
		if oci.IsAttestation(d) {
			continue
		}
		name, named, err := layoutName(d.Annotations)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(out, func(l Image) bool { return l.Target.Digest == d.Digest })
		if i < 0 {
			i = len(out)
			out = append(out, Image{Target: ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}})
		}
		if named && !slices.Contains(out[i].Names, name) {
			out[i].Names = append(out[i].Names, name)
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
