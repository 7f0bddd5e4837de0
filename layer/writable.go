package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/state"
)

// Create makes the writable layer id on top of the given layers, lowest first, which Prepare has made fit. Its root
// directory looks like that of the topmost layer that has one. Its record is durable with the next thing that is made
// so: whoever owns the layer records itself afterwards.
func (s *Store) Create(_ context.Context, id string, diffIDs []digest.Digest) error {
	if id == "" || id == "." || id == ".." || strings.Contains(id, "/") {
		return fmt.Errorf("create writable layer %q: not a name: %w", id, errdefs.ErrInvalidArgument)
	}
	return s.create(id, writableRecord{DiffIDs: slices.Clone(diffIDs)})
}

// Bound limits what the writable layer id will take on disk, as a container's storage options say. It is to be called before
// the layer is made, by whatever call; Delete ends it in any case. What lies below the layer does not count.
func (s *Store) Bound(id string, options map[string]string) error { return s.quotas.Bound(id, options) }

func (s *Store) create(id string, record writableRecord) error {
	if err := s.claim(id, record); err != nil {
		return fmt.Errorf("create writable layer %s: %w", id, err)
	}
	err := s.makeWritable(id, record)
	if err == nil {
		err = s.quotas.Enforce(id)
	}
	if err != nil {
		s.abandon(id)
		return fmt.Errorf("create writable layer %s: %w", id, errors.Join(err, s.discard("writable", id)))
	}
	s.owners.PutLater(id, record)
	return nil
}

// abandon gives a claimed name free.
func (s *Store) abandon(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known.writable, id)
}

// claim takes the name, and with it the layers, which Sweep keeps from then on.
func (s *Store) claim(id string, record writableRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.stack(record.DiffIDs); err != nil {
		return err
	}
	if _, exists := s.known.writable[id]; exists {
		return errdefs.ErrAlreadyExists
	}
	s.known.writable[id] = record
	return nil
}

// makeWritable makes what is missing of a writable layer's directories.
func (s *Store) makeWritable(id string, record writableRecord) error {
	tree := record.tree(id)
	upper, work := s.upper(tree), s.path("writable", tree, "work")
	if _, err := os.Lstat(upper); err == nil {
		if err = os.Mkdir(work, 0o700); errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	for _, dir := range []string{s.path("writable", tree), work, upper} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := s.quotas.Mark(id, s.path("writable", tree), work, upper); err != nil {
		return err
	}
	to, err := os.Open(upper)
	if err != nil {
		return err
	}
	defer to.Close()
	attrs, err := s.rootAttributes(record)
	if err != nil {
		return err
	}
	return attrs.Apply(to, "")
}

// upper is the folder of a writable layer's files, or of what one was when it was frozen.
func (s *Store) upper(tree string) string { return s.path("writable", tree, "upper") }

// rootAttributes reads what the layers below a writable one say the root directory is.
func (s *Store) rootAttributes(record writableRecord) (*archive.Attributes, error) {
	if n := len(record.Below); n > 0 {
		return readRoot(s.upper(record.Below[n-1]))
	}
	dir := s.path("empty")
	s.mu.Lock()
	for _, diffID := range slices.Backward(record.DiffIDs) {
		if s.known.layers[diffID].RootListed {
			dir = s.tree(diffID, s.known.layers[diffID])
			break
		}
	}
	s.mu.Unlock()
	return readRoot(dir)
}

func readRoot(dir string) (*archive.Attributes, error) {
	root, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return archive.ReadAttributes(root, "")
}

func (s *Store) writable(id string) (writableRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	record, ok := s.known.writable[id]
	if !ok {
		return record, noWritable(id)
	}
	return record, nil
}

// Overlay returns what overlayfs needs for the writable layer id: the layers below, topmost first, and its own two
// directories. It is for whoever has the layer for himself from now on: it waits until nobody else writes into it, and
// what Root has mounted is not handed out any more. The layer has no limit until Mounted is called.
func (s *Store) Overlay(id string) (lower []string, upper, work string, err error) {
	s.quiet(id)
	s.quotas.Pause(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if record, ok := s.known.built[id]; ok && record.Bare {
		record.Bare = false
		s.known.built[id] = record
	}
	o, err := s.overlay(id)
	return o.lower, o.upper, o.work, err
}

// Mounted tells that what Overlay gave is mounted, or will not be: the layer's limit holds from here on. Overlayfs makes a
// directory whenever it mounts, and a layer that is full would be mounted without being writable: not even for deleting.
func (s *Store) Mounted(id string) { s.quotas.Resume(id) }

// overlay is Overlay for callers that hold the lock and the layer.
func (s *Store) overlay(id string) (overlaid, error) {
	if built, ok := s.known.built[id]; ok {
		return s.builtOverlay(id, built)
	}
	record, ok := s.known.writable[id]
	if !ok {
		return overlaid{}, noWritable(id)
	}
	lower, err := s.pile(record.DiffIDs, record.Below)
	if err != nil {
		return overlaid{}, fmt.Errorf("writable layer %s: %w", id, err)
	}
	tree := record.tree(id)
	return overlaid{lower: lower, upper: s.upper(tree), work: s.path("writable", tree, "work")}, nil
}

// pile is stack with the mark and frozen trees on top.
func (s *Store) pile(diffIDs []digest.Digest, frozen []string) ([]string, error) {
	below, err := s.stack(diffIDs)
	if err != nil {
		return nil, err
	}
	return append(append(s.uppers(frozen), s.path("mark")), below...), nil
}

func noWritable(id string) error { return fmt.Errorf("writable layer %s: %w", id, errdefs.ErrNotFound) }

// Writable lists the writable layers, sorted.
func (s *Store) Writable() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(s.known.writable))
	for id := range s.known.writable {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Delete removes the writable layer id and its snapshots. What is absent is no error. From the first moment on the name
// is free.
func (s *Store) Delete(_ context.Context, id string) error {
	if _, err := s.writable(id); err != nil {
		return s.quotas.End(id)
	}
	if err := errors.Join(s.quotas.Lift(id), s.db.Update(s.forgetting(id))); err != nil {
		return fmt.Errorf("delete writable layer %s: %w", id, err)
	}
	return s.deleteTree(id)
}

// Drop is Delete for the layer of an owner that the next start of the engine would remove anyway: that it is gone is
// written a moment later. Until then a crash leaves an empty layer.
func (s *Store) Drop(_ context.Context, id string) error {
	if _, err := s.writable(id); err != nil {
		return nil
	}
	if err := s.quotas.Lift(id); err != nil {
		return err
	}
	s.db.Later(s.forgetting(id))
	return s.deleteTree(id)
}

// forgetting removes the records of a writable layer and of the snapshots it has now.
func (s *Store) forgetting(id string) func(*state.Tx) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var snapshots []string
	for snapshotID, snap := range s.known.snapshots {
		if snap.Of == id {
			snapshots = append(snapshots, snapshotID)
		}
	}
	return func(tx *state.Tx) error {
		for _, snapshotID := range snapshots {
			if err := s.shots.DeleteIn(tx, snapshotID); err != nil {
				return err
			}
		}
		return errors.Join(s.quotas.ForgetIn(tx, id), s.owners.DeleteIn(tx, id))
	}
}

// deleteTree deletes the files of a layer and its snapshots, except those that others stand on.
func (s *Store) deleteTree(id string) error {
	s.drive(id)
	s.mu.Lock()
	record := s.known.writable[id]
	trees := append(slices.Clone(record.Below), record.tree(id))
	for key, snap := range s.known.snapshots {
		if snap.Of == id {
			trees = append(trees, snap.Trees...)
			delete(s.known.snapshots, key)
		}
	}
	delete(s.known.writable, id)
	trees = s.unused(trees)
	s.mu.Unlock()
	if err := s.discardTrees(trees); err != nil {
		return fmt.Errorf("delete writable layer %s: %w", id, err)
	}
	return nil
}

// Usage is what the writable layer takes on disk as du counts it, hard links once, without root directories. What its
// snapshots take counts too; what several layers stand on counts for one of them.
func (s *Store) Usage(id string) (int64, error) {
	trees, err := s.countedFor(id)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, tree := range trees {
		n, err := s.treeUsage(tree)
		if err != nil {
			return 0, fmt.Errorf("usage of writable layer %s: %w", id, err)
		}
		total += n
	}
	return total, nil
}

func (s *Store) treeUsage(tree string) (int64, error) {
	upper, err := os.Open(s.upper(tree))
	if err != nil {
		return 0, err
	}
	defer upper.Close()
	return archive.Space(context.Background(), upper)
}
