package result

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/oci"
)

// Kinds of compression, as exporters name them.
const (
	gzipped      = "gzip"
	zstandard    = "zstd"
	uncompressed = "uncompressed"
)

// compression says how new layers are compressed, and with force those that exist, too.
type compression struct {
	kind  string
	level *int
	force bool
}

func (c *compression) setKind(value string) error {
	switch value {
	case gzipped, zstandard, uncompressed:
		c.kind = value
		return nil
	}
	return invalid("unsupported compression type %q: layers are compressed with gzip, zstd, or not at all (uncompressed)", value)
}

func (c *compression) setLevel(value string) error {
	level, err := strconv.Atoi(value)
	if err != nil {
		return invalid("non-integer value specified for compression-level: %q", value)
	}
	c.level = &level
	return nil
}

func (c *compression) check() error {
	most := map[string]int{gzipped: 9, zstandard: 22}[c.kind]
	if c.level != nil && (*c.level < 0 || *c.level > most) && c.kind != uncompressed {
		return invalid("compression-level %d is not one of %s: 0 to %d", *c.level, c.kind, most)
	}
	return nil
}

// key tells compressions apart whose results differ.
func (c *compression) key() string {
	if c.level == nil || c.kind == uncompressed {
		return c.kind
	}
	return c.kind + "-" + strconv.Itoa(*c.level)
}

// mediaType is the one of layers compressed this way.
func (c *compression) mediaType() string {
	switch c.kind {
	case zstandard:
		return ocispec.MediaTypeImageLayerZstd
	case uncompressed:
		return ocispec.MediaTypeImageLayer
	}
	return ocispec.MediaTypeImageLayerGzip
}

// writer compresses into w; the same content always gives the same bytes.
func (c *compression) writer(w io.Writer) (io.WriteCloser, error) {
	switch {
	case c.kind == uncompressed:
		return plain{w}, nil
	case c.kind == zstandard:
		level := zstd.SpeedDefault
		if c.level != nil {
			level = zstd.EncoderLevelFromZstd(*c.level)
		}
		return zstd.NewWriter(w, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1))
	case c.level != nil:
		return gzip.NewWriterLevel(w, *c.level)
	}
	return archive.Compress(w), nil
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// dockerType is Docker's name for the media type of a layer, where it has one.
func dockerType(mediaType string) (string, error) {
	switch mediaType {
	case ocispec.MediaTypeImageLayer:
		return oci.DockerLayer, nil
	case ocispec.MediaTypeImageLayerGzip:
		return oci.DockerLayer + ".gzip", nil
	case ocispec.MediaTypeImageLayerZstd:
		return "", fmt.Errorf("a layer is compressed with zstd, for which Docker has no media type: %w", invalid("leave out oci-mediatypes=false, or give force-compression=true,compression=gzip"))
	}
	return mediaType, nil
}

// choose finds among the forms of a layer the one to stand for it where it is to be compressed by c: one of its kind, or, unless it must
// be, any. What other exports have made of the layer meanwhile changes nothing for one that asks for nothing.
func (c *compression) choose(forms []ocispec.Descriptor) (ocispec.Descriptor, bool) {
	i := slices.IndexFunc(forms, func(d ocispec.Descriptor) bool { return oci.LayerType(d.MediaType) == c.mediaType() })
	if i < 0 && !c.force {
		i = 0
	}
	if i < 0 || len(forms) == 0 {
		return ocispec.Descriptor{}, false
	}
	return forms[i], true
}
