package image

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
)

// unpacker is the keeper of layers, as far as images need it.
type unpacker interface {
	// Has tells whether the layer is there, whole.
	Has(diffID digest.Digest) bool
	// Size is what an unpacked layer takes on disk.
	Size(diffID digest.Digest) int64
	// Apply unpacks a layer from its uncompressed tar, which must hash to diffID; on error nothing is left.
	Apply(ctx context.Context, diffID digest.Digest, tar io.Reader) (int64, error)
	// Prepare makes layers fit for lying on one another, lowest first. reopen gives the tar of one of them again.
	Prepare(ctx context.Context, diffIDs []digest.Digest, reopen func(context.Context, digest.Digest) (io.ReadCloser, error)) error
	layerCare
}

// layerCare is what keeps the layers' disk in order.
type layerCare interface {
	// Sweep removes the layers that keep says no to and no container uses.
	Sweep(keep func(digest.Digest) bool) (removed int, freed int64, err error)
	// Space is what each layer takes on disk.
	Space(ctx context.Context) (map[digest.Digest]int64, error)
	// Unwanted are the layers that Sweep would remove.
	Unwanted(keep func(digest.Digest) bool) []digest.Digest
	// Verify compares a layer with its tar and names where it differs; with exchange it is made anew.
	Verify(ctx context.Context, diffID digest.Digest, tar io.Reader, unused func() error) (differs []string, err error)
}
