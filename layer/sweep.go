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
	gone := s.forget(diffIDs)
	s.mu.Unlock()
	return s.delete(gone)
}

// Sweep deletes the layers that keep returns false for, except those that a writable or built layer lies on, and tells how
// many and how many bytes. Before a layer goes keep is asked once more, with the store's lock held, which it must not need:
// who protects a layer first and then finds it here has it.
func (s *Store) Sweep(keep func(diffID digest.Digest) bool) (removed int, freed int64, err error) {
	unwanted := s.Unwanted(keep)
	s.mu.Lock()
	used := s.usedLayers()
	unwanted = slices.DeleteFunc(unwanted, func(id digest.Digest) bool { return used[id] || keep(id) })
	for _, id := range unwanted {
		freed += s.known.layers[id].Size
	}
	gone := s.forget(unwanted)
	s.mu.Unlock()
	return len(gone.layers), freed, s.delete(gone)
}

// usedLayers are the layers that writable ones, their snapshots and built ones lie on. The lock is held.
func (s *Store) usedLayers() map[digest.Digest]bool {
	used := map[digest.Digest]bool{}
	for _, record := range s.known.writable {
		for _, id := range record.DiffIDs {
			used[id] = true
		}
	}
	for _, record := range s.known.built {
		for _, name := range record.Below {
			used[digest.Digest(name)] = true
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
func (s *Store) forget(diffIDs []digest.Digest) (gone forgotten) {
	for _, id := range diffIDs {
		record, ok := s.known.layers[id]
		if !ok {
			continue
		}
		gone.layers = append(gone.layers, id)
		delete(s.known.layers, id)
		if _, stays := s.known.built[record.Built]; record.Built != "" && !stays {
			gone.built = append(gone.built, record.Built)
		}
	}
	for chain, record := range s.known.fixes {
		if slices.ContainsFunc(record.DiffIDs, func(id digest.Digest) bool { return slices.Contains(gone.layers, id) }) {
			gone.fixes = append(gone.fixes, chain)
			delete(s.known.fixes, chain)
		}
	}
	s.occupy(keys(gone.layers, gone.fixes))
	return gone
}

// forgotten is what forget took out: layers, fixes, and folders of builds that were trees of these layers only.
type forgotten struct {
	layers, fixes []digest.Digest
	built         []string
}

// occupy has whoever wants to work on what has these keys wait, until vacate. The lock is held.
func (s *Store) occupy(keys []string) {
	mine := &work{done: make(chan struct{})}
	for _, key := range keys {
		s.working[key] = mine
	}
}

func (s *Store) vacate(keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(keys) > 0 {
		close(s.working[keys[0]].done) // all share it
	}
	for _, key := range keys {
		delete(s.working, key)
	}
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
func (s *Store) delete(gone forgotten) error {
	layers, fixes := gone.layers, gone.fixes
	if len(layers) == 0 && len(fixes) == 0 {
		return nil
	}
	defer s.vacate(keys(layers, fixes))
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
	for _, name := range gone.built {
		err = errors.Join(err, s.discard("built", name))
	}
	if err != nil {
		return fmt.Errorf("remove layers: %w", err)
	}
	return nil
}
