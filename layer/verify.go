package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/sys"
)

// Verify unpacks the layer once more, from its uncompressed tar, and compares every file. It names where the tree differs,
// the first few places; none is a sound tree. With unused, which says that no container runs on the layer, the fresh tree
// takes the place of one that differs.
func (s *Store) Verify(ctx context.Context, diffID digest.Digest, tar io.Reader, unused func() error) (differs []string, err error) {
	s.mu.Lock()
	record, ok := s.known.layers[diffID]
	s.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("verify layer %s: %w", diffID, errdefs.ErrNotFound)
	}
	if record.Built != "" {
		if differs, err = s.verifyAdopted(ctx, diffID, record, tar, unused); err != nil {
			return nil, fmt.Errorf("verify layer %s: %w", diffID, err)
		}
		return differs, nil
	}
	path, err := os.MkdirTemp(s.path("making"), "")
	if err != nil {
		return nil, fmt.Errorf("verify layer %s: %w", diffID, err)
	}
	defer s.begin(path)()
	defer func() {
		if left := removeTree(path); err == nil && left != nil {
			err = fmt.Errorf("verify layer %s: %w", diffID, left)
		}
	}()
	differs, err = s.compare(ctx, path, diffID, record, tar)
	if err == nil && !s.Has(diffID) { // being deleted, it differs more and more
		err = errdefs.ErrNotFound
	}
	if err == nil && unused != nil && len(differs) > 0 {
		if err = unused(); err == nil {
			err = s.exchange(path, diffID)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("verify layer %s: %w", diffID, err)
	}
	return differs, nil
}

func (s *Store) compare(ctx context.Context, path string, diffID digest.Digest, record layerRecord, tar io.Reader) ([]string, error) {
	fresh, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer fresh.Close()
	if err := fresh.Chmod(0o755); err != nil {
		return nil, err
	}
	if _, err := s.unpack(ctx, fresh, diffID, tar, nil); err != nil {
		return nil, err
	}
	tree, err := os.Open(s.tree(diffID, record))
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	// Directories that the layer does not list have the time at which they were unpacked.
	untimed := map[string]bool{"": !record.RootListed}
	for _, dir := range record.Implied {
		untimed[dir] = true
	}
	return archive.Compare(ctx, tree, fresh, func(dir string) bool { return !record.Many && !untimed[dir] })
}

// exchange puts a fresh tree in place of the layer's, which then lies at path.
func (s *Store) exchange(path string, diffID digest.Digest) error {
	making, err := os.Open(s.path("making"))
	if err != nil {
		return err
	}
	defer making.Close()
	trees, err := os.Open(s.path("trees"))
	if err != nil {
		return err
	}
	defer trees.Close()
	base, name := sys.Borrow(making), path[len(s.path("making"))+1:]
	err = errors.Join(sys.SyncFileSystem(base), sys.ExchangeAt(base, name, sys.Borrow(trees), diffID.Encoded()))
	s.mu.Lock()
	delete(s.measured, s.tree(diffID, layerRecord{}))
	s.mu.Unlock()
	return err
}
