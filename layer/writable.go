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
	"github.com/cove-containers/cove/sys"
)

// Create makes the writable layer id on top of the given layers, lowest first, which Prepare has made fit. Its root
// directory looks like that of the topmost layer that has one. Its record is durable with the next thing that is made
// so: whoever owns the layer records itself afterwards.
func (s *Store) Create(_ context.Context, id string, diffIDs []digest.Digest) error {
	if id == "" || id == "." || id == ".." || strings.Contains(id, "/") {
		return fmt.Errorf("create writable layer %q: not a name: %w", id, errdefs.ErrInvalidArgument)
	}
	record := writableRecord{DiffIDs: slices.Clone(diffIDs)}
	if err := s.claim(id, record); err != nil {
		return fmt.Errorf("create writable layer %s: %w", id, err)
	}
	if err := s.makeWritable(id, diffIDs); err != nil {
		s.mu.Lock()
		delete(s.known.writable, id)
		s.mu.Unlock()
		return fmt.Errorf("create writable layer %s: %w", id, errors.Join(err, s.discard("writable", id)))
	}
	s.owners.PutLater(id, record)
	return nil
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
func (s *Store) makeWritable(id string, diffIDs []digest.Digest) error {
	upper, work := s.path("writable", id, "upper"), s.path("writable", id, "work")
	if _, err := os.Lstat(upper); err == nil {
		if err = os.Mkdir(work, 0o700); errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	for _, dir := range []string{s.path("writable", id), work, upper} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	to, err := os.Open(upper)
	if err != nil {
		return err
	}
	defer to.Close()
	attrs, err := s.rootAttributes(diffIDs)
	if err != nil {
		return err
	}
	return attrs.Apply(to, "")
}

// rootAttributes reads what the layers say the root directory is.
func (s *Store) rootAttributes(diffIDs []digest.Digest) (*archive.Attributes, error) {
	dir := s.path("empty")
	s.mu.Lock()
	for _, diffID := range slices.Backward(diffIDs) {
		if s.known.layers[diffID].RootListed {
			dir = s.tree(diffID)
			break
		}
	}
	s.mu.Unlock()
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
		return record, fmt.Errorf("writable layer %s: %w", id, errdefs.ErrNotFound)
	}
	return record, nil
}

// Overlay returns what overlayfs needs for the writable layer id: the layers below, topmost first, and its own two
// directories. It is for whoever has the layer for himself from now on: it waits until nobody else writes into it, and
// what Root has mounted is not handed out any more.
func (s *Store) Overlay(id string) (lower []string, upper, work string, err error) {
	s.quiet(id)
	return s.overlay(id)
}

func (s *Store) overlay(id string) (lower []string, upper, work string, err error) {
	record, err := s.writable(id)
	if err != nil {
		return nil, "", "", err
	}
	if lower, err = s.Stack(context.Background(), record.DiffIDs); err != nil {
		return nil, "", "", fmt.Errorf("writable layer %s: %w", id, err)
	}
	return lower, s.path("writable", id, "upper"), s.path("writable", id, "work"), nil
}

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

// Delete removes the writable layer id. What is absent is no error. From the first moment on the name is free.
func (s *Store) Delete(_ context.Context, id string) error {
	if _, err := s.writable(id); err != nil {
		return nil
	}
	if err := s.owners.Delete(id); err != nil {
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
	s.owners.DeleteLater(id)
	return s.deleteTree(id)
}

func (s *Store) deleteTree(id string) error {
	s.drive(id)
	err := s.discard("writable", id)
	s.mu.Lock()
	delete(s.known.writable, id)
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("delete writable layer %s: %w", id, err)
	}
	return nil
}

// Usage is what the writable layer takes on disk as du counts it, hard links once, without its root directory.
func (s *Store) Usage(id string) (int64, error) {
	if _, err := s.writable(id); err != nil {
		return 0, err
	}
	upper, err := os.Open(s.path("writable", id, "upper"))
	if err != nil {
		return 0, fmt.Errorf("usage of writable layer %s: %w", id, err)
	}
	defer upper.Close()
	u := usage{seen: map[uint64]bool{}}
	if err := u.add(sys.Borrow(upper)); err != nil {
		return 0, fmt.Errorf("usage of writable layer %s: %w", id, err)
	}
	return u.total, nil
}

type usage struct {
	seen  map[uint64]bool // inodes that have more than one name
	total int64
}

func (u *usage) add(dir sys.FD) error {
	entries, err := sys.ReadDirectory(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := u.entry(dir, e.Name); err != nil && !errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			return err
		}
	}
	return nil
}

func (u *usage) entry(dir sys.FD, name string) error {
	st, err := sys.StatAt(dir, name)
	if err != nil {
		return err
	}
	if st.Kind() != sys.KindDir && st.Links > 1 {
		if u.seen[st.Ino] {
			return nil
		}
		u.seen[st.Ino] = true
	}
	u.total += 512 * st.Blocks
	if st.Kind() != sys.KindDir {
		return nil
	}
	fd, err := sys.OpenListAt(dir, name)
	if err != nil {
		return err
	}
	defer fd.Close()
	return u.add(fd)
}
