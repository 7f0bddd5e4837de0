package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/sys"
)

// maxImplied is how many implied directories a record lists; a layer with more is unpacked
// anew on top of those below.
const maxImplied = 5000

// work is a layer or fix being made or deleted, which others may wait for.
type work struct {
	done chan struct{}
}

func layerKey(diffID digest.Digest) string { return "layer " + diffID.String() }

func fixKey(chain digest.Digest) string { return "fix " + chain.String() }

// share runs do unless a call with the same key is going on, which it waits for instead. When that one fails,
// the next in line runs its own.
func (s *Store) share(ctx context.Context, key string, ready func() bool, do func() error) error {
	for {
		s.mu.Lock()
		if ready() {
			s.mu.Unlock()
			return nil
		}
		other := s.working[key]
		if other == nil {
			break
		}
		s.mu.Unlock()
		select {
		case <-other.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	mine := &work{done: make(chan struct{})}
	s.working[key] = mine
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.working, key)
		s.mu.Unlock()
		close(mine.done)
	}()
	return do()
}

// Apply unpacks a layer from its uncompressed tar and returns its size. Several calls for one layer share the work:
// whoever comes later waits, and returns without having read its own tar when the first succeeds. The whole of tar
// is read, in another goroutine and a little ahead, and must hash to diffID; when ctx ends, its Read must return. On
// error nothing is left.
func (s *Store) Apply(ctx context.Context, diffID digest.Digest, tar io.Reader) (int64, error) {
	if err := diffID.Validate(); err != nil {
		return 0, fmt.Errorf("apply layer %q: %w: %w", diffID, err, errdefs.ErrInvalidArgument)
	}
	ready := func() bool { _, ok := s.known.layers[diffID]; return ok }
	err := s.share(ctx, layerKey(diffID), ready, func() error { return s.apply(ctx, diffID, tar) })
	if err != nil {
		return 0, fmt.Errorf("apply layer %s: %w", diffID, err)
	}
	return s.Size(diffID), nil
}

func (s *Store) apply(ctx context.Context, diffID digest.Digest, tar io.Reader) error {
	var report archive.Report
	err := s.build(s.tree(diffID, layerRecord{}), func(dir *os.File) (err error) {
		report, err = s.unpack(ctx, dir, diffID, tar, nil)
		return err
	})
	if err != nil {
		return err
	}
	if len(report.NoAttr) > 0 {
		slog.Warn("layers: extended attributes that this file system does not take", "layer", diffID.String(), "files", report.NoAttr)
	}
	record := layerRecord{Size: report.Disk, Newest: report.Newest, Opaque: report.Opaque, RootListed: true, Reaches: len(report.Missing) > 0}
	for _, path := range report.Implied {
		if path == "" {
			record.RootListed = false
			continue
		}
		record.Implied = append(record.Implied, path)
	}
	if len(record.Implied) > maxImplied {
		record.Implied, record.Many = nil, true
	}
	if err := s.layers.Put(diffID.String(), record); err != nil {
		return errors.Join(err, s.discard("trees", diffID.Encoded()))
	}
	s.mu.Lock()
	s.known.layers[diffID] = record
	s.mu.Unlock()
	return nil
}

// build makes a tree at place: whole and on disk, or not at all.
func (s *Store) build(place string, fill func(dir *os.File) error) error {
	path, err := os.MkdirTemp(s.path("making"), "")
	if err != nil {
		return err
	}
	defer s.begin(path)()
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	err = dir.Chmod(0o755)
	if err == nil {
		err = fill(dir)
	}
	if err == nil {
		err = sys.SyncFileSystem(sys.Borrow(dir))
	}
	if err == nil {
		err = os.Rename(path, place)
	}
	if err != nil {
		return errors.Join(err, removeTree(path))
	}
	return nil
}

// unpack fills dir from a layer's tar while that is read and hashed elsewhere, and compares it with its diff ID.
func (s *Store) unpack(ctx context.Context, dir *os.File, diffID digest.Digest, tar io.Reader, below *os.File) (archive.Report, error) {
	hash := diffID.Algorithm().Hash()
	ahead := archive.ReadAhead(io.TeeReader(tar, hash))
	defer ahead.Close()
	report, err := archive.Unpack(ctx, dir, ahead, archive.Options{
		Whiteouts: true, Below: below, MaxBytes: s.limits.Bytes, MaxEntries: s.limits.Entries,
	})
	if err != nil {
		return report, err
	}
	if err := drain(ctx, ahead); err != nil { // the diff ID also covers what follows the archive's end
		return report, err
	}
	if got := digest.NewDigest(diffID.Algorithm(), hash); got != diffID {
		return report, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("diff ID mismatch: expected %s, the content is %s", diffID, got))
	}
	return report, nil
}

func drain(ctx context.Context, r io.Reader) error {
	buf := make([]byte, 64<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := r.Read(buf); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
