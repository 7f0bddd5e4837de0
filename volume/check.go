package volume

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cove-containers/cove/api"
)

// Check compares records and folders.
func (s *Store) Check(_ context.Context, _ bool) (api.Findings, error) {
	var found api.Findings
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return found, fmt.Errorf("check volumes: %w", err)
	}
	s.mu.Lock()
	names := slices.Sorted(maps.Keys(s.records))
	s.mu.Unlock()
	found.Count("volumes", len(names))
	for _, name := range names {
		if !isFolder(s.Path(name)) {
			found.Add(s.lostFolder(name))
		}
	}
	for _, e := range entries {
		if _, known := slices.BinarySearch(names, e.Name()); !known {
			found.Add(s.strayFolder(e.Name()))
		}
	}
	return found, nil
}

func (s *Store) known(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.records[name]
	return ok
}

// isLeaving tells that the files of a volume that was removed are being deleted.
func (s *Store) isLeaving(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving[name] > 0
}

func (s *Store) lostFolder(name string) api.Fault {
	return api.Fault{
		Kind: "volume", Name: name, Problem: "its folder is missing", Remedy: "made anew, empty",
		Persists: func() bool { return s.known(name) && !isFolder(s.Path(name)) },
		Mend: func(context.Context) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if _, ok := s.records[name]; !ok {
				return nil
			}
			if err := makeFolder(filepath.Join(s.root, name), 0o701); err != nil {
				return err
			}
			return makeFolder(s.Path(name), 0o755)
		},
	}
}

// strayFolder is the fault of a folder without a record. It is treated as at the start of the engine: what was being removed
// goes, and what has content becomes a volume.
func (s *Store) strayFolder(name string) api.Fault {
	path := filepath.Join(s.root, name)
	gone, removal := strings.CutPrefix(name, gonePrefix)
	fault := api.Fault{
		Kind: "volume", Name: path, Problem: "no record tells of it",
		Persists: func() bool {
			_, err := os.Lstat(path)
			return err == nil && !s.known(name) && !(removal && s.isLeaving(gone))
		},
	}
	content, _ := os.ReadDir(s.Path(name))
	repair := s.mend(func() error {
		if _, made := s.records[name]; made {
			return nil
		}
		_, err := s.repairFolder(name)
		return err
	})
	switch {
	case removal:
		fault.Problem, fault.Remedy = "its removal was broken off", "removed"
		fault.Mend = s.mend(func() error {
			if s.leaving[gone] > 0 {
				return nil
			}
			if _, again := s.records[gone]; again {
				return s.removeTree(name)
			}
			return s.finishRemoval(gone)
		})
	case ValidName(name) != nil || !isFolder(path):
		fault.Advice = "look what it is and remove it"
	case len(content) > 0:
		fault.Remedy = "made a volume, for it has content"
		fault.Mend = repair
	default:
		fault.Remedy = "removed"
		fault.Mend = repair
	}
	return fault
}

// mend runs do while nobody makes or removes a volume.
func (s *Store) mend(do func() error) func(context.Context) error {
	return func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		return do()
	}
}
