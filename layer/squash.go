package layer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/sys"
)

// Squash merges trees of a writable layer that nobody needs one by one, because the snapshots between them are gone: so
// many snapshots, made and removed again, neither pile up nor keep what was overwritten long ago. Nobody must have the
// layer mounted; while somebody reads its trees nothing is done.
func (s *Store) Squash(ctx context.Context, id string) error {
	open, ok := s.gate.Shut(id)
	if !ok {
		return nil
	}
	defer open()
	s.quotas.Pause(id)
	defer s.quotas.Resume(id)
	for {
		s.mu.Lock()
		record, known := s.known.writable[id]
		trees := append(slices.Clone(record.Below), record.tree(id))
		at := s.needless(id, trees)
		var below []string
		var err error
		if known && at >= 0 {
			below, err = s.pile(record.DiffIDs, trees[:at])
		}
		s.mu.Unlock()
		if !known || at < 0 || err != nil {
			return err
		}
		err = errors.Join(s.quotas.Belongs(id, s.path("writable", trees[at])), s.quotas.Belongs(id, s.path("writable", trees[at+1])))
		if err != nil {
			return fmt.Errorf("merge trees of writable layer %s: %w", id, err)
		}
		if err := s.merge(ctx, trees[at+1], trees[at], below); err != nil {
			return fmt.Errorf("merge trees of writable layer %s: %w", id, err)
		}
		if err := s.merged(id, record, trees, at); err != nil {
			return fmt.Errorf("merge trees of writable layer %s: %w", id, err)
		}
	}
}

// needless is the place of the lowest tree of a layer that is nowhere without the one above it; -1 when there is none.
// The lock is held.
func (s *Store) needless(id string, trees []string) int {
	above := map[string]string{} // what may be merged into what
	for i, tree := range trees[:len(trees)-1] {
		above[tree] = trees[i+1]
	}
	for other, record := range s.known.writable {
		if other == id {
			continue
		}
		for _, tree := range record.Below { // may be mounted
			delete(above, tree)
		}
	}
	for _, snap := range s.known.snapshots {
		for i, tree := range snap.Trees {
			if snap.Of != id || i+1 == len(snap.Trees) || above[tree] != snap.Trees[i+1] {
				delete(above, tree)
			}
		}
	}
	return slices.IndexFunc(trees, func(tree string) bool { return above[tree] != "" })
}

func (s *Store) merge(ctx context.Context, over, onto string, below []string) error {
	files, err := openAll(append([]string{s.upper(over), s.upper(onto)}, below...))
	if err != nil {
		return err
	}
	defer closeAll(files)
	if err := archive.Merge(ctx, files[0], files[1], files[2:]); err != nil {
		return err
	}
	// The record that gives up the upper tree must not reach the disk before what was moved out of it.
	return sys.SyncFileSystem(sys.Borrow(files[0]))
}

// merged writes that the tree above place at is in the one there now.
func (s *Store) merged(id string, record writableRecord, trees []string, at int) error {
	gone := trees[at+1]
	without := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(tree string) bool { return tree == gone })
	}
	left := without(trees)
	next := writableRecord{DiffIDs: record.DiffIDs, Below: left[:len(left)-1], Tree: left[len(left)-1]}
	if err := os.MkdirAll(s.path("writable", next.Tree, "work"), 0o700); err != nil {
		return err
	}
	s.mu.Lock()
	var changed []Snapshot
	for _, snap := range s.known.snapshots {
		if slices.Contains(snap.Trees, gone) {
			snap.Trees = without(snap.Trees)
			changed = append(changed, snap)
		}
	}
	s.mu.Unlock()
	err := s.db.Update(func(tx *state.Tx) error {
		for _, snap := range changed {
			if err := s.shots.PutIn(tx, snap.ID, snap); err != nil {
				return err
			}
		}
		return s.owners.PutIn(tx, id, next)
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.known.writable[id] = next
	for _, snap := range changed {
		s.known.snapshots[snap.ID] = snap
	}
	s.mu.Unlock()
	return s.discard("writable", gone)
}
