package layer

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/archive"
)

// Pack writes what the writable layer id has changed as the tar of one image layer; the same changes always give the
// same bytes.
func (s *Store) Pack(ctx context.Context, w io.Writer, id string) error {
	defer s.gate.Enter(id)()
	record, err := s.writable(id)
	if err != nil {
		return err
	}
	return s.pack(ctx, w, append(slices.Clone(record.Below), record.tree(id)), record.DiffIDs)
}

// PackSnapshot is Pack for a snapshot.
func (s *Store) PackSnapshot(ctx context.Context, w io.Writer, snap Snapshot) error {
	defer s.gate.Enter(snap.Of)()
	snap, err := s.fresh(snap)
	if err != nil {
		return err
	}
	return s.pack(ctx, w, snap.Trees, snap.DiffIDs)
}

func (s *Store) pack(ctx context.Context, w io.Writer, trees []string, diffIDs []digest.Digest) error {
	image, err := s.Stack(ctx, diffIDs)
	if err == nil {
		err = s.standing(trees, packTrees(ctx, w, s.uppers(trees), image))
	}
	if err != nil {
		return fmt.Errorf("pack writable layer: %w", err)
	}
	return nil
}

// packTrees packs what the directories over add up to, on top of those under them, each topmost first.
func packTrees(ctx context.Context, w io.Writer, over, under []string) error {
	below, err := openAll(under)
	if err != nil {
		return err
	}
	defer closeAll(below)
	roots, err := openAll(over)
	if err != nil {
		return err
	}
	defer closeAll(roots)
	return archive.PackLayers(ctx, w, roots, below)
}

// standing tells whoever has read trees, and came to err, that they are not there any more, if so: in a tree that is being
// deleted, what is gone looks like what never was.
func (s *Store) standing(trees []string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unused(trees)) > 0 {
		return errdefs.ErrConflict.WithMessage("the files were removed, or rolled back, while they were read")
	}
	return err
}

// uppers are the folders of trees, which are named lowest first, topmost first.
func (s *Store) uppers(trees []string) []string {
	var dirs []string
	for _, tree := range slices.Backward(trees) {
		dirs = append(dirs, s.upper(tree))
	}
	return dirs
}

func openAll(dirs []string) (files []*os.File, err error) {
	for _, dir := range dirs {
		f, err := os.Open(dir)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
