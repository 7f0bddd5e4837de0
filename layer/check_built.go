package layer

import (
	"context"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/api"
)

// whole tells that a built layer has its files, and all that it stands on is there. The lock is held, or nobody else is
// there yet.
func (s *Store) whole(name string) bool {
	record := s.known.built[name]
	for _, below := range record.Below {
		_, image := s.known.layers[digest.Digest(below)]
		if _, built := s.known.built[below]; !image && !built {
			return false
		}
	}
	if _, ok := s.known.built[record.Flat]; record.Flat != "" && !ok {
		return false
	}
	return !absent(s.builtTree(name))
}

// repairBuilt brings records of built layers and their folders in step.
func (s *Store) repairBuilt() error {
	for name, record := range s.known.built {
		record.sealed, record.durable = true, true
		s.known.built[name] = record
		if work := s.path("built", name, "work"); !absent(work) { // the power went before it was gone for good
			if err := removeTree(work); err != nil {
				return err
			}
		}
	}
	for more := true; more; { // those who stand on what is gone go as well
		more = false
		for name := range s.known.built {
			if s.whole(name) {
				continue
			}
			warnRepair("record of a built layer", name)
			delete(s.known.built, name)
			if err := s.builts.Delete(name); err != nil {
				return err
			}
			more = true
		}
	}
	there, err := s.names("built")
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for name := range s.known.built {
		wanted[name] = true
	}
	for _, record := range s.known.layers {
		wanted[record.Built] = true
	}
	if err := s.dropUnwanted("built", there, wanted); err != nil {
		return err
	}
	return s.Scrap(context.Background())
}

// checkBuilt compares the records of built layers with their folders.
func (s *Store) checkBuilt(found *api.Findings) error {
	there, err := s.names("built")
	if err != nil {
		return err
	}
	s.mu.Lock()
	known := maps.Clone(s.known.built)
	for _, record := range s.known.layers {
		delete(there, record.Built)
	}
	s.mu.Unlock()
	found.Count("built layers", len(known))
	for _, name := range slices.Sorted(maps.Keys(known)) {
		delete(there, name)
		if !known[name].sealed {
			continue
		}
		broken := func() bool {
			return s.locked(func() bool { _, ok := s.known.built[name]; return ok && !s.whole(name) })
		}
		if broken() {
			found.Add(api.Fault{
				Kind: "layer", Name: name, Problem: "the files of this built layer are missing", Persists: broken,
				Remedy: "forgotten, and built again when it is needed",
				Mend:   func(ctx context.Context) error { return s.forgetBroken(broken, name) },
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		path := s.path("built", name)
		stray := func() bool {
			known := s.locked(func() bool { _, ok := s.known.built[name]; return ok || s.adopted(name) })
			return !known && !s.busy(path) && !absent(path)
		}
		found.Add(api.Fault{
			Kind: "layer", Name: path, Problem: "no record tells of it", Remedy: "removed", Persists: stray,
			Mend: func(context.Context) error {
				if !stray() {
					return nil
				}
				return s.discard("built", name)
			},
		})
	}
	return nil
}

// forgetBroken takes a layer without files out at once: those who stand on it are of no use either.
func (s *Store) forgetBroken(broken func() bool, name string) error {
	if !broken() {
		return nil
	}
	s.mu.Lock()
	delete(s.known.built, name)
	s.mu.Unlock()
	return s.forgetBuilt([]string{name}, nil)
}
