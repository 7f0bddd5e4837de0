package share

import (
	"context"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
)

// inImage is a cache inside of an image that is here: pulled, loaded or built, and kept nowhere else perhaps.
type inImage struct {
	of  *Sharer
	img *image.Image
}

// here reads what the image of that name carries of a cache; nil when it is not here, or carries none.
func (s *Sharer) here(ctx context.Context, name ref.Name) *finder {
	img, err := s.Images.Get(ctx, name.String(), nil)
	if err != nil {
		return nil
	}
	f := &finder{of: s, from: &inImage{s, img}, entries: map[digest.Digest]*entry{}}
	if err := f.read(ctx); err != nil || len(f.entries) == 0 {
		return nil
	}
	return f
}

func (i *inImage) root(ctx context.Context) (ocispec.Descriptor, []byte, error) {
	return i.Manifest(ctx, ref.Name{Digest: i.img.Manifest.Digest})
}

// Manifest implements image.Origin.
func (i *inImage) Manifest(_ context.Context, name ref.Name) (ocispec.Descriptor, []byte, error) {
	body, err := i.of.Blobs.Read(name.Digest, oci.MaxDocument)
	return ocispec.Descriptor{MediaType: i.img.Manifest.MediaType, Digest: name.Digest, Size: int64(len(body))}, body, err
}

// Blob implements image.Origin. Layers are here unpacked, as a rule, and nobody asks for them.
func (i *inImage) Blob(_ context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, int64, error) {
	f, _, err := i.of.Blobs.Open(desc.Digest)
	if err != nil {
		return nil, 0, err
	}
	return readFrom(f, offset)
}

func readFrom(f *os.File, offset int64) (io.ReadCloser, int64, error) {
	at, err := f.Seek(offset, io.SeekStart)
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, at, nil
}
