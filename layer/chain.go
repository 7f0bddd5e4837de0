package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/sys"
)

// Reopen gives a layer's uncompressed tar once more.
type Reopen = func(ctx context.Context, diffID digest.Digest) (io.ReadCloser, error)

// chains returns the chain IDs of layers on one another, lowest first.
func chains(diffIDs []digest.Digest) []digest.Digest {
	ids := slices.Clone(diffIDs)
	for i := 1; i < len(ids); i++ {
		ids[i] = digest.FromString(ids[i-1].String() + " " + diffIDs[i].String())
	}
	return ids
}

// Prepare makes the layers fit for lying on one another in this order, lowest first: layers that say nothing about
// a parent directory get its attributes from below, and layers that reach into those below (hard links, links among the
// parents) are unpacked once more on top of them, for which reopen gives their uncompressed tar again.
// It is quick when there is nothing to do or all is done.
func (s *Store) Prepare(ctx context.Context, diffIDs []digest.Digest, reopen Reopen) error {
	ids := chains(diffIDs)
	for i, diffID := range diffIDs {
		s.mu.Lock()
		record, ok := s.known.layers[diffID]
		_, done := s.known.fixes[ids[i]]
		s.mu.Unlock()
		if !ok {
			return fmt.Errorf("layer %s: %w", diffID, errdefs.ErrNotFound)
		}
		if done || !record.open(i) {
			continue
		}
		ready := func() bool { _, ok := s.known.fixes[ids[i]]; return ok }
		err := s.share(ctx, fixKey(ids[i]), ready, func() error {
			return s.prepare(ctx, diffIDs[:i+1], ids[i], record, reopen)
		})
		if err != nil {
			return fmt.Errorf("fit layer %s on those below it: %w", diffID, err)
		}
	}
	return nil
}

// Stack returns the directories that make up these layers (lowest first) as overlayfs wants them: topmost first,
// absolute. It is errdefs.ErrNotFound when a layer is missing, and errdefs.ErrFailedPrecondition when Prepare must
// be called first.
func (s *Store) Stack(_ context.Context, diffIDs []digest.Digest) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stack(diffIDs)
}

// stack is Stack for callers that hold the lock.
func (s *Store) stack(diffIDs []digest.Digest) ([]string, error) {
	ids := chains(diffIDs)
	var stack []string // lowest first
	for i, diffID := range diffIDs {
		record, ok := s.known.layers[diffID]
		if !ok {
			return nil, fmt.Errorf("layer %s: %w", diffID, errdefs.ErrNotFound)
		}
		if record.Opaque {
			stack = nil
		}
		fix := fixRecord{Kind: fixNone}
		if record.open(i) {
			if fix, ok = s.known.fixes[ids[i]]; !ok {
				return nil, fmt.Errorf("layer %s is not yet fitted on those below it: %w", diffID, errdefs.ErrFailedPrecondition)
			}
		}
		if fix.Kind != fixInstead {
			// A layer that occurs twice counts where it lies higher: there it hides all that it brought before.
			tree := s.tree(diffID, record)
			stack = append(slices.DeleteFunc(stack, func(dir string) bool { return dir == tree }), tree)
		}
		if fix.Kind != fixNone {
			stack = append(stack, s.fix(ids[i]))
		}
	}
	if len(stack) == 0 {
		stack = []string{s.path("empty")}
	}
	slices.Reverse(stack)
	return stack, nil
}

// open tells that it depends on the layers below whether this one, at place i of a chain, fits as it is.
func (r layerRecord) open(i int) bool { return r.Reaches || i > 0 && (r.Many || len(r.Implied) > 0) }

// view opens the merged tree of layers, lowest first, for reading.
func (s *Store) view(ctx context.Context, diffIDs []digest.Digest) (*os.File, error) {
	stack, err := s.Stack(ctx, diffIDs)
	if err != nil {
		return nil, err
	}
	if empty := s.path("empty"); len(stack) == 1 { // the kernel wants two
		if stack[0] == empty {
			return os.Open(empty)
		}
		stack = append(stack, empty)
	}
	return sys.MountOverlay(stack, "", "")
}

// prepare finds out what the last layer of a chain needs to lie on the others, and makes it.
func (s *Store) prepare(ctx context.Context, diffIDs []digest.Digest, chain digest.Digest, record layerRecord, reopen Reopen) error {
	last := len(diffIDs) - 1
	below, err := s.view(ctx, diffIDs[:last])
	if err != nil {
		return err
	}
	defer below.Close()
	fix := fixRecord{DiffIDs: diffIDs, Kind: fixInstead}
	var plan []fixDir
	if !record.Reaches && !record.Many {
		if fix.Kind, plan, err = s.plan(below, diffIDs[last], record); err != nil {
			return err
		}
	}
	switch fix.Kind {
	case fixOver:
		err = s.build(s.fix(chain), func(dir *os.File) error { return lay(dir, plan) })
	case fixInstead:
		err = s.build(s.fix(chain), func(dir *os.File) error { return s.again(ctx, dir, diffIDs[last], below, reopen) })
	}
	if err != nil {
		return err
	}
	if err := s.fixes.Put(chain.String(), fix); err != nil {
		return errors.Join(err, s.discard("fixes", chain.Encoded()))
	}
	s.mu.Lock()
	s.known.fixes[chain] = fix
	s.mu.Unlock()
	return nil
}

// again unpacks a layer on top of those below it.
func (s *Store) again(ctx context.Context, dir *os.File, diffID digest.Digest, below *os.File, reopen Reopen) error {
	if reopen == nil {
		return fmt.Errorf("its tar is needed again: %w", errdefs.ErrFailedPrecondition)
	}
	tar, err := reopen(ctx, diffID)
	if err != nil {
		return err
	}
	defer tar.Close()
	_, err = s.unpack(ctx, dir, diffID, tar, below)
	return err
}
