package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/archive"
)

// Space measures what every layer takes on disk as du counts it, with what was made to lay it on others. Trees do not
// change, so that each is measured once.
func (s *Store) Space(ctx context.Context) (map[digest.Digest]int64, error) {
	s.mu.Lock()
	places := map[string]digest.Digest{} // path → layer that it goes with
	for id, record := range s.known.layers {
		places[s.tree(id, record)] = id
	}
	for chain, fix := range s.known.fixes {
		if fix.Kind != fixNone {
			places[s.fix(chain)] = fix.DiffIDs[len(fix.DiffIDs)-1]
		}
	}
	measured := map[string]int64{}
	for path := range places {
		if n, known := s.measured[path]; known {
			measured[path] = n
		}
	}
	s.mu.Unlock()
	total := map[digest.Digest]int64{}
	for _, path := range slices.Sorted(maps.Keys(places)) {
		n, known := measured[path]
		if !known {
			var err error
			if n, err = measure(ctx, path); errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			} else if err != nil {
				return nil, err
			}
			measured[path] = n
		}
		total[places[path]] += n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.known.built {
		if n, known := s.measured[s.builtTree(name)]; known {
			measured[s.builtTree(name)] = n
		}
	}
	s.measured = measured
	return total, nil
}

// Weight is what the writable layer takes on disk with everything that comes with it; see Usage.
func (s *Store) Weight(ctx context.Context, id string) (int64, error) {
	trees, err := s.countedFor(id)
	if err != nil {
		return 0, err
	}
	return s.weigh(ctx, trees)
}

// Freed is what the disk gets back when the writable layer is deleted: its trees and those of its snapshots, but for what
// others stand on.
func (s *Store) Freed(ctx context.Context, id string) (int64, error) {
	s.mu.Lock()
	record, ok := s.known.writable[id]
	trees := append(slices.Clone(record.Below), record.tree(id))
	others := map[string]bool{}
	for other, r := range s.known.writable {
		for _, tree := range r.Below {
			others[tree] = others[tree] || other != id
		}
	}
	for _, snap := range s.known.snapshots {
		for _, tree := range snap.Trees {
			others[tree] = others[tree] || snap.Of != id
		}
		if snap.Of == id {
			trees = append(trees, snap.Trees...)
		}
	}
	s.mu.Unlock()
	if !ok {
		return 0, noWritable(id)
	}
	trees = slices.Compact(slices.Sorted(slices.Values(trees)))
	return s.weigh(ctx, slices.DeleteFunc(trees, func(tree string) bool { return others[tree] }))
}

// weigh is what trees take on disk; one that is gone takes nothing.
func (s *Store) weigh(ctx context.Context, trees []string) (int64, error) {
	var total int64
	for _, tree := range trees {
		n, err := measure(ctx, s.path("writable", tree))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// measure is what a folder and all below it take on disk.
func measure(ctx context.Context, path string) (int64, error) {
	dir, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("measure layer: %w", err)
	}
	defer dir.Close()
	n, err := archive.Space(ctx, dir)
	return n + folderSpace, err
}

// folderSpace is what the folder itself takes with most file systems.
const folderSpace = 4096
