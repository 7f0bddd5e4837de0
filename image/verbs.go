package image

import (
	"context"
	"io"

	"github.com/containerd/errdefs"
	it "github.com/moby/moby/api/types/image"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/state"
)

// Store is the image keeper.
type Store struct{}

func Open(db *state.DB, blobs *blob.Store, reg *remote.Client, layers unpacker, emit func(action, id string, attrs map[string]string)) (*Store, error) {
	return &Store{}, nil
}

// Close waits for transfers.
func (s *Store) Close() error { return nil }

// SetUsers tells how to find the containers made from images; until it is called, nothing is removed.
func (s *Store) SetUsers(users func() []User) {}

// SetEmbedded registers images that need no registry: full name → archive.
func (s *Store) SetEmbedded(archives map[string]func() (io.ReadCloser, error)) {}

func (s *Store) Get(ctx context.Context, ref string, platform *ocispec.Platform) (*Image, error) {
	return nil, errdefs.ErrNotImplemented
}

// Unpacked makes sure that the layers of img are unpacked and fit on one another.
func (s *Store) Unpacked(ctx context.Context, img *Image) error { return errdefs.ErrNotImplemented }

func (s *Store) Pull(ctx context.Context, ref string, o PullOptions) (*Image, error) {
	return nil, errdefs.ErrNotImplemented
}
func (s *Store) Load(ctx context.Context, r io.Reader, o LoadOptions) error {
	return errdefs.ErrNotImplemented
}
func (s *Store) Save(ctx context.Context, names []string, platforms []ocispec.Platform, w io.Writer) error {
	return errdefs.ErrNotImplemented
}
func (s *Store) List(ctx context.Context, o ListOptions) ([]it.Summary, error) {
	return nil, errdefs.ErrNotImplemented
}

// Inspect; manifests fills Manifests.
func (s *Store) Inspect(ctx context.Context, ref string, platform *ocispec.Platform, manifests bool) (it.InspectResponse, error) {
	return it.InspectResponse{}, errdefs.ErrNotImplemented
}
func (s *Store) History(ctx context.Context, ref string, platform *ocispec.Platform) ([]it.HistoryResponseItem, error) {
	return nil, errdefs.ErrNotImplemented
}
func (s *Store) Tag(ctx context.Context, source, target string) error {
	return errdefs.ErrNotImplemented
}
func (s *Store) Remove(ctx context.Context, ref string, o RemoveOptions) ([]it.DeleteResponse, error) {
	return nil, errdefs.ErrNotImplemented
}
func (s *Store) Prune(ctx context.Context, f api.Filters) (it.PruneReport, error) {
	return it.PruneReport{}, errdefs.ErrNotImplemented
}

// Sweep removes blobs and layers that no name and no container needs.
func (s *Store) Sweep(ctx context.Context) (freed int64, err error) {
	return 0, errdefs.ErrNotImplemented
}

// Usage is what all images take on disk, each blob and layer counted once.
func (s *Store) Usage(ctx context.Context) (int64, error) { return 0, errdefs.ErrNotImplemented }
