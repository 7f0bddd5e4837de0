package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/containerd/errdefs"
	vt "github.com/moby/moby/api/types/volume"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/sys"
)

// Remove removes a volume that no container uses: used is errdefs.ErrConflict, absent errdefs.ErrNotFound unless
// force.
func (s *Store) Remove(ctx context.Context, name string, force bool) error {
	err := s.takeAway(name)
	if errdefs.IsNotFound(err) && force {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.left(name)
	s.tell("destroy", name, map[string]string{"driver": "local"})
	if err := s.removeTree(gonePrefix + name); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// takeAway makes the volume disappear: its name is free when it returns. What is left is its renamed folder.
func (s *Store) takeAway(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.records[name]; !ok {
		return noSuch(name)
	}
	if users := s.users[name]; len(users) > 0 {
		return errdefs.ErrConflict.WithMessage(fmt.Sprintf("remove %s: volume is in use - %v", name, slices.Sorted(maps.Keys(users))))
	}
	// One of this name may still be in the middle of its removal.
	if err := s.removeTree(gonePrefix + name); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	folder, gone := filepath.Join(s.root, name), filepath.Join(s.root, gonePrefix+name)
	if err := os.Rename(folder, gone); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	if err := s.table.Delete(name); err != nil {
		return fmt.Errorf("remove %s: %w", name, errors.Join(err, putBack(gone, folder)))
	}
	delete(s.records, name)
	s.leaving[name]++
	return nil
}

// putBack gives a volume that could not be removed its folder back.
func putBack(gone, folder string) error {
	if err := os.Rename(gone, folder); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// left notes that a removal is over.
func (s *Store) left(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving[name]--; s.leaving[name] == 0 {
		delete(s.leaving, name)
	}
}

// removeTree removes what is at path below the root.
func (s *Store) removeTree(path string) error {
	root, err := os.Open(filepath.Join(s.root, filepath.Dir(path)))
	if err != nil {
		return err
	}
	defer root.Close()
	return sys.RemoveTreeAt(sys.Borrow(root), filepath.Base(path))
}

// Prune removes unused volumes: the anonymous ones, or with the filter all every one. Filters label and label! pick
// among them. It reports only what was really removed.
func (s *Store) Prune(ctx context.Context, filters api.Filters) (vt.PruneReport, error) {
	report := vt.PruneReport{VolumesDeleted: []string{}}
	if err := filters.Check("all", "label", "label!"); err != nil {
		return report, err
	}
	all, err := filters.Bool("all", false)
	if err != nil {
		return report, err
	}
	for _, name := range s.unused() {
		if err := ctx.Err(); err != nil {
			return report, err
		}
		v, err := s.Get(name)
		if err != nil {
			continue
		}
		if !all && !s.Anonymous(name) || !filters.Labels("label", v.Labels) || !filters.NotLabels("label!", v.Labels) {
			continue
		}
		size, _ := s.Usage(ctx, name)
		if err := s.Remove(ctx, name, false); err != nil {
			if errdefs.IsConflict(err) || errdefs.IsNotFound(err) {
				continue
			}
			return report, err
		}
		report.VolumesDeleted = append(report.VolumesDeleted, name)
		report.SpaceReclaimed += uint64(size)
	}
	s.tell("prune", "", map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)})
	return report, nil
}

// unused are the names of the volumes that no container uses.
func (s *Store) unused() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.records {
		if len(s.users[name]) == 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Usage returns the bytes on disk under the volume; a file with several names counts once.
func (s *Store) Usage(ctx context.Context, name string) (int64, error) {
	dir, err := os.Open(s.Path(name))
	if err != nil {
		return 0, fmt.Errorf("size of volume %s: %w", name, err)
	}
	defer dir.Close()
	n, err := archive.Space(ctx, dir)
	if err != nil {
		return 0, fmt.Errorf("size of volume %s: %w", name, err)
	}
	return n, nil
}
