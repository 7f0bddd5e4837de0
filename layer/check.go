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

	"github.com/cove-containers/cove/api"
)

// Check compares records and trees. What is in the trees is compared by Verify.
func (s *Store) Check(_ context.Context, _ bool) (api.Findings, error) {
	var found api.Findings
	for _, look := range []func(*api.Findings) error{s.checkTrees, s.checkFixes, s.checkWritable, s.checkBuilt, s.checkTemporary} {
		if err := look(&found); err != nil {
			return found, fmt.Errorf("check layers: %w", err)
		}
	}
	return found, nil
}

// absent tells that there is nothing at path.
func absent(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// idle tells that nobody makes or deletes what has this key.
func (s *Store) idle(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.working[key] == nil
}

func (s *Store) checkTrees(found *api.Findings) error {
	there, err := s.names("trees")
	if err != nil {
		return err
	}
	s.mu.Lock()
	known := maps.Clone(s.known.layers)
	s.mu.Unlock()
	found.Count("layers", len(known))
	for _, id := range slices.Sorted(maps.Keys(known)) {
		tree := s.tree(id, known[id])
		if !absent(tree) {
			delete(there, id.Encoded())
			continue
		}
		gone := func() bool { return s.Has(id) && s.idle(layerKey(id)) && absent(tree) }
		found.Add(api.Fault{
			Kind: "layer", Name: id.String(), Problem: "its tree is missing", Remedy: "unpacked again when it is needed",
			Persists: gone,
			Mend: func(ctx context.Context) error {
				if !gone() {
					return nil
				}
				return s.Remove(id)
			},
		})
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		id := encoded(name)
		s.strayTree(found, "trees", name, layerKey(id), func() bool { _, ok := s.known.layers[id]; return ok })
	}
	return nil
}

func (s *Store) checkFixes(found *api.Findings) error {
	there, err := s.names("fixes")
	if err != nil {
		return err
	}
	s.mu.Lock()
	known := maps.Clone(s.known.fixes)
	s.mu.Unlock()
	has := func(chain digest.Digest) bool { _, ok := s.known.fixes[chain]; return ok } // the lock is held
	for _, chain := range slices.Sorted(maps.Keys(known)) {
		if known[chain].Kind == fixNone || there[chain.Encoded()] {
			delete(there, chain.Encoded())
			continue
		}
		gone := func() bool {
			return s.locked(func() bool { return has(chain) }) && s.idle(fixKey(chain)) && absent(s.fix(chain))
		}
		found.Add(api.Fault{
			Kind: "layer", Name: chain.String(), Problem: "what fits it on the layers below is missing", Remedy: "made again when it is needed",
			Persists: gone,
			Mend: func(ctx context.Context) error {
				if !gone() {
					return nil
				}
				return s.forgetFix(chain)
			},
		})
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		chain := encoded(name)
		s.strayTree(found, "fixes", name, fixKey(chain), func() bool { return has(chain) })
	}
	return nil
}

func (s *Store) forgetFix(chain digest.Digest) error {
	s.mu.Lock()
	delete(s.known.fixes, chain)
	s.mu.Unlock()
	return s.fixes.Delete(chain.String())
}

// encoded is the digest whose hex the name of a tree is.
func encoded(name string) digest.Digest {
	algorithm := digest.SHA256
	if len(name) == 2*digest.SHA512.Size() {
		algorithm = digest.SHA512
	}
	return digest.NewDigestFromEncoded(algorithm, name)
}

func (s *Store) locked(ask func() bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return ask()
}

// strayTree notes a tree that no record tells of. It stands in the way of the one that belongs there. recorded is asked
// while the lock is held.
func (s *Store) strayTree(found *api.Findings, dir, name, key string, recorded func() bool) {
	path := s.path(dir, name)
	found.Add(api.Fault{
		Kind: "layer", Name: path, Problem: "no record tells of it", Remedy: "removed",
		Persists: func() bool { return !s.locked(recorded) && s.idle(key) && !absent(path) },
		Mend: func(ctx context.Context) error {
			return s.share(ctx, key, recorded, func() error { return s.discard(dir, name) })
		},
	})
}

func (s *Store) checkWritable(found *api.Findings) error {
	there, err := s.names("writable")
	if err != nil {
		return err
	}
	s.mu.Lock()
	known, frozen := maps.Clone(s.known.writable), s.used()
	s.mu.Unlock()
	found.Count("writable layers", len(known))
	for tree := range frozen {
		delete(there, tree)
	}
	for _, id := range slices.Sorted(maps.Keys(known)) {
		delete(frozen, known[id].tree(id))
		s.checkOwn(found, id)
	}
	found.Count("frozen trees", len(frozen))
	for _, tree := range slices.Sorted(maps.Keys(frozen)) {
		lost := func() bool {
			return s.locked(func() bool { return s.used()[tree] }) && absent(s.upper(tree))
		}
		if lost() {
			found.Add(api.Fault{
				Kind: "layer", Name: s.upper(tree), Problem: "this part of a snapshot is missing", Persists: lost,
				Advice: "remove the snapshots and clones that need it",
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		path := s.path("writable", name)
		stray := func() bool {
			return !s.locked(func() bool { return s.used()[name] }) && !s.busy(path) && !absent(path)
		}
		found.Add(api.Fault{
			Kind: "layer", Name: path, Problem: "no record tells of it", Remedy: "removed", Persists: stray,
			Mend: func(context.Context) error {
				if !stray() {
					return nil
				}
				return s.discard("writable", name)
			},
		})
	}
	return nil
}

// checkOwn looks for the folders that a writable layer writes to.
func (s *Store) checkOwn(found *api.Findings, id string) {
	broken := func() bool {
		record, err := s.writable(id)
		tree := record.tree(id)
		return err == nil && !s.busy(s.path("writable", tree)) && (absent(s.upper(tree)) || absent(s.path("writable", tree, "work")))
	}
	if !broken() {
		return
	}
	found.Add(api.Fault{
		Kind: "layer", Name: id, Problem: "the folders of this writable layer are missing", Remedy: "made anew, empty", Persists: broken,
		Mend: func(context.Context) error {
			if !broken() {
				return nil
			}
			record, err := s.writable(id)
			if err != nil {
				return nil // it was deleted meanwhile
			}
			return s.makeWritable(id, record)
		},
	})
}

// checkTemporary looks for trees half made or half deleted that nobody is at.
func (s *Store) checkTemporary(found *api.Findings) error {
	for _, dir := range []string{"making", "gone"} {
		there, err := s.names(dir)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(there)) {
			path := s.path(dir, name)
			left := func() bool { return !s.busy(path) && !absent(path) }
			if !left() {
				continue
			}
			found.Add(api.Fault{
				Kind: "layer", Name: path, Problem: "it was left half done", Remedy: "removed", Persists: left,
				Mend: func(ctx context.Context) error {
					if !left() {
						return nil
					}
					return removeTree(path)
				},
			})
		}
	}
	return nil
}

// begin notes that a folder in making/ or gone/ is somebody's; the result ends that.
func (s *Store) begin(path string) (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.temporary == nil {
		s.temporary = map[string]bool{}
	}
	s.temporary[path] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.temporary, path)
	}
}

func (s *Store) busy(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.temporary[path]
}
