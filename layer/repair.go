package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/sys"
)

// format is the number of the layout on disk that the package comment draws.
const format = "1"

func (s *Store) checkFormat() error {
	path := s.path("FORMAT")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return os.WriteFile(path, []byte(format+"\n"), 0o600)
	}
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(raw)); got != format && got != "" {
		return fmt.Errorf("format %q, this engine reads %q: %w", got, format, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// repair brings records and trees in step.
func (s *Store) repair() error {
	for _, dir := range []string{"making", "gone"} {
		if err := s.empty(dir); err != nil {
			return err
		}
	}
	layers, err := s.layers.All()
	if err != nil {
		return err
	}
	fixes, err := s.fixes.All()
	if err != nil {
		return err
	}
	if s.known.writable, err = s.owners.All(); err != nil {
		return err
	}
	if s.known.snapshots, err = s.shots.All(); err != nil {
		return err
	}
	s.known.layers = map[digest.Digest]layerRecord{}
	for id, record := range layers {
		s.known.layers[digest.Digest(id)] = record
	}
	s.known.fixes = map[digest.Digest]fixRecord{}
	for id, record := range fixes {
		s.known.fixes[digest.Digest(id)] = record
	}
	if s.known.built, err = s.builts.All(); err != nil {
		return err
	}
	if err := s.repairTrees(); err != nil {
		return err
	}
	if err := s.repairFixes(); err != nil {
		return err
	}
	if err := s.repairWritable(); err != nil {
		return err
	}
	return s.repairBuilt()
}

// names lists a folder of the store.
func (s *Store) names(dir string) (map[string]bool, error) {
	entries, err := os.ReadDir(s.path(dir))
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names, nil
}

func (s *Store) empty(dir string) error {
	names, err := s.names(dir)
	if err != nil {
		return err
	}
	for name := range names {
		left := s.quotas.Leaving(s.path(dir, name))
		if err := removeTree(s.path(dir, name)); err != nil {
			return err
		}
		left()
	}
	return nil
}

func removeTree(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return sys.RemoveTreeAt(sys.Borrow(dir), filepath.Base(path))
}

// discard deletes a tree; from the first moment on it is not at its place any more.
func (s *Store) discard(parts ...string) error {
	left := s.quotas.Leaving(s.path(parts...))
	for {
		gone := s.path("gone", strconv.FormatInt(s.gone.Add(1), 10))
		end := s.begin(gone)
		err := os.Rename(s.path(parts...), gone)
		if err == nil {
			err = removeTree(gone)
			end()
			left()
			return err
		}
		end()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case !errors.Is(err, fs.ErrExist): // something left there has taken the number
			return err
		}
	}
}

func (s *Store) repairTrees() error {
	there, err := s.names("trees")
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for id, record := range s.known.layers {
		wanted[id.Encoded()] = record.Built == ""
		if absent(s.tree(id, record)) {
			warnRepair("record of a layer", id.String())
			delete(s.known.layers, id)
			if err := s.layers.Delete(id.String()); err != nil {
				return err
			}
		}
	}
	return s.dropUnwanted("trees", there, wanted)
}

func (s *Store) dropUnwanted(dir string, there, wanted map[string]bool) error {
	for name := range there {
		if wanted[name] {
			continue
		}
		warnRepair(dir, name)
		if err := s.discard(dir, name); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) repairFixes() error {
	there, err := s.names("fixes")
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for chain, record := range s.known.fixes {
		whole := record.Kind == fixNone || there[chain.Encoded()]
		for _, id := range record.DiffIDs {
			_, ok := s.known.layers[id]
			whole = whole && ok
		}
		if whole {
			wanted[chain.Encoded()] = true
			continue
		}
		delete(s.known.fixes, chain)
		if err := s.fixes.Delete(chain.String()); err != nil {
			return err
		}
	}
	return s.dropUnwanted("fixes", there, wanted)
}

func (s *Store) repairWritable() error {
	there, err := s.names("writable")
	if err != nil {
		return err
	}
	for id, snap := range s.known.snapshots {
		if _, ok := s.known.writable[snap.Of]; ok {
			continue
		}
		warnRepair("record of a snapshot", id)
		delete(s.known.snapshots, id)
		if err := s.shots.Delete(id); err != nil {
			return err
		}
	}
	for id, record := range s.known.writable {
		err := s.makeWritable(id, record) // what was not yet on disk when the power went
		if errors.Is(err, fs.ErrNotExist) && len(record.Below) > 0 {
			slog.Error("layers: what a writable layer stands on is gone", "id", id, "error", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	trees := map[string]string{}
	for id, record := range s.known.writable {
		trees[id] = s.path("writable", record.tree(id))
	}
	if err := s.quotas.Repair(trees); err != nil {
		return err
	}
	return s.dropUnwanted("writable", there, s.used())
}
