package layer

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/sys"
)

const (
	// mostFrozen is how many frozen trees may lie below a writable layer.
	mostFrozen = 250
	// mostStacked is how many directories overlayfs takes below the one that is written to.
	mostStacked = 500
)

// Snapshot is a writable layer as it was at one moment.
type Snapshot struct {
	ID, Name, Comment string
	// Of is the writable layer.
	Of      string
	Created time.Time
	DiffIDs []digest.Digest
	// Trees are the frozen trees it consists of, lowest first.
	Trees []string
}

// Freeze makes a snapshot of a writable layer that nobody has mounted: what it consists of is frozen where it is,
// and the layer goes on in an empty tree on top, however much there is. Name and Comment are taken from snap.
func (s *Store) Freeze(ctx context.Context, id string, snap Snapshot) (Snapshot, error) {
	trees, err := s.settle(id, func(record writableRecord, trees []string) error {
		snap = s.snapshot(id, record, snap, trees)
		return s.claimName(snap)
	}, func(tx *state.Tx) error { return s.shots.PutIn(tx, snap.ID, snap) })
	if err != nil {
		s.unclaim(snap.ID)
		return Snapshot{}, fmt.Errorf("freeze writable layer %s: %w", id, err)
	}
	snap.Trees = trees
	return snap, nil
}

// Photograph makes a snapshot of a writable layer that a container has mounted, by copying; the caller keeps it still
// until copied is called.
func (s *Store) Photograph(ctx context.Context, id string, snap Snapshot, copied func()) (Snapshot, error) {
	record, err := s.writable(id)
	if err != nil {
		return Snapshot{}, err
	}
	tree := newTree()
	defer s.begin(s.path("writable", tree))()
	snap = s.snapshot(id, record, snap, append(slices.Clone(record.Below), tree))
	err = s.claimName(snap)
	if err == nil {
		err = s.copyUpper(ctx, tree, record.tree(id), copied)
	}
	if err == nil {
		err = s.shots.Put(snap.ID, snap)
	}
	if err == nil {
		if _, err = s.writable(id); err != nil { // it was deleted meanwhile
			err = errors.Join(err, s.shots.Delete(snap.ID))
		}
	}
	if err != nil {
		s.unclaim(snap.ID)
		return Snapshot{}, fmt.Errorf("copy writable layer %s: %w", id, errors.Join(err, s.discard("writable", tree)))
	}
	return snap, nil
}

// Clone makes the writable layer id, with what layer from holds. When from is still it is frozen and both go on from
// there; when a container has it mounted its files are copied, and the caller, who keeps it still, gives copied to know
// when that is done.
func (s *Store) Clone(ctx context.Context, id, from string, copied func()) error {
	record, err := s.writable(from)
	if err != nil {
		return err
	}
	next := writableRecord{DiffIDs: record.DiffIDs, Below: record.Below}
	if copied == nil {
		if next.Below, err = s.settle(from, nil, nil); err != nil {
			return fmt.Errorf("clone writable layer %s: %w", from, err)
		}
		return s.create(id, next)
	}
	if err := s.claim(id, next); err != nil {
		return fmt.Errorf("create writable layer %s: %w", id, err)
	}
	err = s.copyUpper(ctx, id, record.tree(from), copied)
	if err == nil {
		err = s.quotas.Enforce(id)
	}
	if err != nil {
		s.abandon(id)
		return fmt.Errorf("clone writable layer %s: %w", from, errors.Join(err, s.discard("writable", id)))
	}
	s.owners.PutLater(id, next)
	return nil
}

// CloneSnapshot makes the writable layer id on top of a snapshot.
func (s *Store) CloneSnapshot(_ context.Context, id string, snap Snapshot) error {
	snap, err := s.fresh(snap)
	if err != nil {
		return err
	}
	return s.create(id, writableRecord{DiffIDs: snap.DiffIDs, Below: snap.Trees})
}

// Rollback gives a writable layer that nobody has mounted what it held when the snapshot was made. What it holds now
// is gone, unless another snapshot has it.
func (s *Store) Rollback(_ context.Context, snap Snapshot) error {
	snap, err := s.fresh(snap)
	if err != nil {
		return err
	}
	id := snap.Of
	next := writableRecord{DiffIDs: snap.DiffIDs, Below: snap.Trees, Tree: newTree()}
	old, err := s.turn(id, next, nil)
	if err != nil {
		return fmt.Errorf("roll back writable layer %s: %w", id, err)
	}
	s.drive(id) // who still reads the files there were must not take what is left of them for all
	return s.discardUnused(append(slices.Clone(old.Below), old.tree(id)))
}

// Forget removes a snapshot. What nothing else stands on is deleted. An absent one is no error.
func (s *Store) Forget(_ context.Context, snap Snapshot) error {
	snap, err := s.fresh(snap)
	if err != nil {
		return nil
	}
	if err := s.shots.Delete(snap.ID); err != nil {
		return fmt.Errorf("remove snapshot %s: %w", snap.ID, err)
	}
	s.unclaim(snap.ID)
	return s.discardUnused(snap.Trees)
}

// half tells that a snapshot is still being copied; the lock is held.
func (s *Store) half(snap Snapshot) bool {
	return s.temporary[s.path("writable", snap.Trees[len(snap.Trees)-1])]
}

// Snapshots lists the snapshots of a writable layer, the oldest first.
func (s *Store) Snapshots(of string) []Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Snapshot
	for _, snap := range s.known.snapshots {
		if snap.Of == of && !s.half(snap) {
			all = append(all, snap)
		}
	}
	slices.SortFunc(all, func(a, b Snapshot) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return all
}

// fresh is a snapshot as it consists of trees now.
func (s *Store) fresh(snap Snapshot) (Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, ok := s.known.snapshots[snap.ID]
	if !ok || s.half(now) {
		return snap, fmt.Errorf("snapshot %s: %w", snap.ID, errdefs.ErrNotFound)
	}
	return now, nil
}

// SnapshotUsage is what the files take that were new when the snapshot was made.
func (s *Store) SnapshotUsage(snap Snapshot) (int64, error) {
	defer s.gate.Enter(snap.Of)()
	snap, err := s.fresh(snap)
	if err != nil {
		return 0, err
	}
	return s.treeUsage(snap.Trees[len(snap.Trees)-1])
}

func newTree() string {
	raw := make([]byte, 32)
	rand.Read(raw)
	return hex.EncodeToString(raw)
}

func (s *Store) snapshot(id string, record writableRecord, snap Snapshot, trees []string) Snapshot {
	snap.ID, snap.Of, snap.Created = newTree(), id, time.Now().UTC()
	snap.DiffIDs, snap.Trees = record.DiffIDs, trees
	return snap
}

// claimName takes a snapshot in, which keeps its trees from then on; its name must be free among those of its layer.
func (s *Store) claimName(snap Snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.known.snapshots {
		if other.Of == snap.Of && snap.Name != "" && other.Name == snap.Name {
			return errdefs.ErrConflict.WithMessage(fmt.Sprintf("the container has a snapshot %q already", snap.Name))
		}
	}
	s.known.snapshots[snap.ID] = snap
	return nil
}

func (s *Store) unclaim(snapshotID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known.snapshots, snapshotID)
}

// settle has all that a writable layer holds in frozen trees, and returns them. before is told the trees first, also
// does its writes in the same transaction; both may be nil. Nobody must have the layer mounted.
func (s *Store) settle(id string, before func(writableRecord, []string) error, also func(*state.Tx) error) ([]string, error) {
	s.quiet(id)
	record, err := s.writable(id)
	if err != nil {
		return nil, err
	}
	same, err := s.unchanged(id, record)
	if err != nil {
		return nil, err
	}
	trees := record.Below
	if !same {
		trees = append(slices.Clone(trees), record.tree(id))
	}
	if !s.bearable(record.DiffIDs, trees) {
		return nil, errdefs.ErrFailedPrecondition.WithMessage("too many snapshots lie on one another: roll back to one of them, or commit the container and go on from the image")
	}
	if before != nil {
		if err := before(record, trees); err != nil {
			return nil, err
		}
	}
	if same {
		if also == nil {
			return trees, nil
		}
		return trees, s.db.Update(also)
	}
	if _, err := s.turn(id, writableRecord{DiffIDs: record.DiffIDs, Below: trees, Tree: newTree()}, also); err != nil {
		return nil, err
	}
	if err := s.dropWork(record.tree(id)); err != nil {
		slog.Warn("layers: what overlayfs worked in is left in a frozen tree", "tree", record.tree(id), "error", err)
	}
	return trees, nil
}

// bearable tells that overlayfs can stack so many.
func (s *Store) bearable(diffIDs []digest.Digest, frozen []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	pile, _ := s.pile(diffIDs, frozen) // an image that has lost a layer is noticed when it is mounted
	return len(frozen) <= mostFrozen && len(pile) <= mostStacked
}

// unchanged tells that a layer that lies on frozen trees has nothing of its own.
func (s *Store) unchanged(id string, record writableRecord) (bool, error) {
	n := len(record.Below)
	if n == 0 {
		return false, nil
	}
	own := s.upper(record.tree(id))
	if empty, err := isEmpty(own); err != nil || !empty {
		return false, err
	}
	now, err := readRoot(own)
	if err != nil {
		return false, err
	}
	was, err := readRoot(s.upper(record.Below[n-1]))
	return err == nil && now.Same(was), err
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if err == io.EOF {
		return true, nil
	}
	return false, err
}

// turn puts another record, with a fresh tree, in place of a writable layer's. It waits until nobody copies files into
// the layer; whoever comes later finds the new tree. A crash leaves the one or the other.
func (s *Store) turn(id string, next writableRecord, also func(*state.Tx) error) (old writableRecord, err error) {
	defer s.begin(s.path("writable", next.Tree))()
	if err := s.makeWritable(id, next); err != nil {
		return old, errors.Join(err, s.discard("writable", next.Tree))
	}
	for {
		s.quiet(id)
		s.mu.Lock()
		if h := s.holds[id]; h == nil || h.writers == 0 {
			break
		}
		s.mu.Unlock()
	}
	old, ok := s.known.writable[id]
	if ok {
		s.known.writable[id] = next
		delete(s.roots, id)
	}
	s.mu.Unlock()
	if !ok {
		return old, errors.Join(noWritable(id), s.discard("writable", next.Tree))
	}
	err = s.db.Update(func(tx *state.Tx) error {
		if err := s.owners.PutIn(tx, id, next); err != nil || also == nil {
			return err
		}
		return also(tx)
	})
	if err != nil {
		s.mu.Lock()
		s.known.writable[id] = old
		s.mu.Unlock()
		err = errors.Join(err, s.discard("writable", next.Tree))
	}
	return old, err
}

// dropWork removes the folder that overlayfs worked in, which a frozen tree has no need of.
func (s *Store) dropWork(tree string) error { return removeTree(s.path("writable", tree, "work")) }

// copyUpper makes tree with the files of another one.
func (s *Store) copyUpper(ctx context.Context, tree, from string, copied func()) error {
	for _, dir := range []string{s.path("writable", tree, "work"), s.upper(tree)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	// A snapshot's copy does not count for the container.
	if err := s.quotas.Mark(tree, s.path("writable", tree), s.path("writable", tree, "work"), s.upper(tree)); err != nil {
		return err
	}
	dst, err := os.Open(s.upper(tree))
	if err != nil {
		return err
	}
	defer dst.Close()
	src, err := os.Open(s.upper(from))
	if err != nil {
		return err
	}
	defer src.Close()
	if err := archive.CopyTree(ctx, dst, src, archive.CopyOptions{Root: true, Layer: true}); err != nil {
		return err
	}
	copied()
	return sys.SyncFileSystem(sys.Borrow(dst))
}

// unused picks those of trees that no record names; the lock is held.
func (s *Store) unused(trees []string) []string {
	used := s.used()
	trees = slices.Compact(slices.Sorted(slices.Values(trees)))
	return slices.DeleteFunc(trees, func(tree string) bool { return used[tree] })
}

// used are the trees that records name; the lock is held.
func (s *Store) used() map[string]bool {
	used := map[string]bool{}
	for id, record := range s.known.writable {
		used[record.tree(id)] = true
		for _, tree := range record.Below {
			used[tree] = true
		}
	}
	for _, snap := range s.known.snapshots {
		for _, tree := range snap.Trees {
			used[tree] = true
		}
	}
	return used
}

func (s *Store) discardUnused(trees []string) error {
	s.mu.Lock()
	trees = s.unused(trees)
	s.mu.Unlock()
	return s.discardTrees(trees)
}

func (s *Store) discardTrees(trees []string) (err error) {
	for _, tree := range trees {
		err = errors.Join(err, s.discard("writable", tree))
	}
	return err
}

// countedFor are the trees whose use of the disk counts for a writable layer: its own, and those it or its snapshots
// consist of, each of which counts for the first of the layers, in the order of their IDs, that it belongs to.
func (s *Store) countedFor(id string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	record, ok := s.known.writable[id]
	if !ok {
		return nil, noWritable(id)
	}
	first := map[string]string{}
	belongs := func(trees []string, to string) {
		for _, tree := range trees {
			if other, ok := first[tree]; !ok || to < other {
				first[tree] = to
			}
		}
	}
	for other, r := range s.known.writable {
		belongs(r.Below, other)
	}
	for _, snap := range s.known.snapshots {
		belongs(snap.Trees, snap.Of)
	}
	trees := []string{record.tree(id)}
	for tree, owner := range first {
		if owner == id {
			trees = append(trees, tree)
		}
	}
	return trees, nil
}
