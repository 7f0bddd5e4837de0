package layer

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/state"
)

// Remove deletes layers. Absent ones are no error. The caller knows that nobody uses them.
func (s *Store) Remove(diffIDs ...digest.Digest) error {
	s.mu.Lock()
	layers, fixes := s.forget(diffIDs)
	s.mu.Unlock()
	return s.delete(layers, fixes)
}

// Sweep deletes the layers that keep returns false for, except those that a writable layer lies on, and tells how
// many and how many bytes.
func (s *Store) Sweep(keep func(diffID digest.Digest) bool) (removed int, freed int64, err error) {
	s.mu.Lock()
	var candidates []digest.Digest
	for id := range s.known.layers {
		candidates = append(candidates, id)
	}
	s.mu.Unlock()
	unwanted := slices.DeleteFunc(candidates, keep)
	s.mu.Lock()
	used := s.usedLayers()
	unwanted = slices.DeleteFunc(unwanted, func(id digest.Digest) bool { return used[id] })
	for _, id := range unwanted {
		freed += s.known.layers[id].Size
	}
	layers, fixes := s.forget(unwanted)
	s.mu.Unlock()
	return len(layers), freed, s.delete(layers, fixes)
}

// usedLayers are the layers that writable ones, and their snapshots, lie on. The lock is held.
func (s *Store) usedLayers() map[digest.Digest]bool {
	used := map[digest.Digest]bool{}
	for _, record := range s.known.writable {
		for _, id := range record.DiffIDs {
			used[id] = true
		}
	}
	return used
}

// Unwanted are the layers that Sweep would delete.
func (s *Store) Unwanted(keep func(diffID digest.Digest) bool) []digest.Digest {
	s.mu.Lock()
	used := s.usedLayers()
	known := slices.Sorted(maps.Keys(s.known.layers))
	s.mu.Unlock()
	return slices.DeleteFunc(known, func(id digest.Digest) bool { return used[id] || keep(id) })
}

// forget takes layers, and the fixes of chains that they are part of, out of what is known, for delete to delete; who
// wants to make one of them anew waits for that. The lock is held.
func (s *Store) forget(diffIDs []digest.Digest) (layers, fixes []digest.Digest) {
	for _, id := range diffIDs {
		if _, ok := s.known.layers[id]; ok {
			layers = append(layers, id)
			delete(s.known.layers, id)
		}
	}
	for chain, record := range s.known.fixes {
		if slices.ContainsFunc(record.DiffIDs, func(id digest.Digest) bool { return slices.Contains(layers, id) }) {
			fixes = append(fixes, chain)
			delete(s.known.fixes, chain)
		}
	}
	gone := &work{done: make(chan struct{})}
	for _, key := range keys(layers, fixes) {
		s.working[key] = gone
	}
	return layers, fixes
}

// keys are the names under which layers and fixes are worked on.
func keys(layers, fixes []digest.Digest) []string {
	var all []string
	for _, id := range layers {
		all = append(all, layerKey(id))
	}
	for _, chain := range fixes {
		all = append(all, fixKey(chain))
	}
	return all
}

// delete removes records, in one go, and then trees.
func (s *Store) delete(layers, fixes []digest.Digest) error {
	if len(layers) == 0 && len(fixes) == 0 {
		return nil
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		all := keys(layers, fixes)
		close(s.working[all[0]].done) // all share it
		for _, key := range all {
			delete(s.working, key)
		}
	}()
	err := s.db.Update(func(tx *state.Tx) error {
		for _, chain := range fixes {
			if err := s.fixes.DeleteIn(tx, chain.String()); err != nil {
				return err
			}
		}
		for _, id := range layers {
			if err := s.layers.DeleteIn(tx, id.String()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove layers: %w", err)
	}
	for _, chain := range fixes {
		err = errors.Join(err, s.discard("fixes", chain.Encoded()))
	}
	for _, id := range layers {
		err = errors.Join(err, s.discard("trees", id.Encoded()))
	}
	if err != nil {
		return fmt.Errorf("remove layers: %w", err)
	}
	return nil
}
