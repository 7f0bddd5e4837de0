package layer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/layer/difference"
)

// Changes lists how the writable layer id differs from the layers below, as docker diff shows it: sorted, with the
// directories that changes lie in. What is at or below a path in ignore is left out, and so are directories that
// exist for it alone.
func (s *Store) Changes(ctx context.Context, id string, ignore ...string) ([]ct.FilesystemChange, error) {
	defer s.gate.Enter(id)()
	record, err := s.writable(id)
	if err != nil {
		return nil, err
	}
	below, err := s.Stack(ctx, record.DiffIDs)
	if err != nil {
		return nil, fmt.Errorf("changes of writable layer %s: %w", id, err)
	}
	trees := append(slices.Clone(record.Below), record.tree(id))
	changes, err := differences(ctx, s.uppers(trees), below, false, ignore)
	if err = s.standing(trees, err); err != nil {
		return nil, fmt.Errorf("changes of writable layer %s: %w", id, err)
	}
	return changes, nil
}

// ChangesSince is Changes for what has changed since a snapshot was made: until to was made, or, when that is nil, until
// now.
func (s *Store) ChangesSince(ctx context.Context, from Snapshot, to *Snapshot, ignore ...string) ([]ct.FilesystemChange, error) {
	defer s.gate.Enter(from.Of)()
	record, err := s.writable(from.Of)
	if err != nil {
		return nil, err
	}
	if from, err = s.fresh(from); err != nil {
		return nil, err
	}
	trees := append(slices.Clone(record.Below), record.tree(from.Of))
	if to != nil {
		until, err := s.fresh(*to)
		if err != nil {
			return nil, err
		}
		trees = until.Trees
	}
	s.mu.Lock()
	was, err := s.pile(from.DiffIDs, from.Trees)
	is, failed := s.pile(from.DiffIDs, trees)
	s.mu.Unlock()
	if err = errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("changes since snapshot %s: %w", from.ID, err)
	}
	changes, err := differences(ctx, is, was, true, ignore)
	if err = s.standing(slices.Concat(from.Trees, trees), err); err != nil {
		return nil, fmt.Errorf("changes since snapshot %s: %w", from.ID, err)
	}
	return changes, nil
}

// differences opens two piles of directories, each topmost first, and compares them: see difference.Between.
func differences(ctx context.Context, up, low []string, whole bool, ignore []string) ([]ct.FilesystemChange, error) {
	upper, err := openPile(up)
	if err != nil {
		return nil, err
	}
	defer upper.Close()
	lower, err := openPile(low)
	if err != nil {
		return nil, err
	}
	defer lower.Close()
	return difference.Between(ctx, upper, lower, whole, ignore)
}

func openPile(dirs []string) (archive.Pile, error) {
	roots, err := openAll(dirs)
	if err != nil {
		return nil, err
	}
	defer closeAll(roots)
	return archive.OpenPile(roots...)
}
