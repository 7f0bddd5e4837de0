// Package blob keeps bytes by their SHA-256: what is in the store is whole and has been verified.
//
//	<data-root>/
//	    blobs/
//	        sha256/
//	            <hex>              a blob; never changes
//	    ingest/
//	        <hex>.part             what a broken transfer of that blob left, to be resumed
//	        new-<random>.part      being written, digest not known yet; removed at the next Open
package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

const (
	partSuffix = ".part"
	newPrefix  = "new-"
)

// Store is a folder of blobs. It is safe for concurrent use.
type Store struct {
	blobs, ingest string
	twin          func(d digest.Digest, path string)

	commits commits

	mu      sync.Mutex
	claimed map[digest.Digest]bool
	writers map[digest.Digest]*Writer
	changed chan struct{} // closed and replaced when writers changes
}

// Open opens or makes the store below root and removes what unnamed writers left behind.
func Open(root string) (*Store, error) {
	s := &Store{
		blobs:   filepath.Join(root, "blobs", string(digest.SHA256)),
		ingest:  filepath.Join(root, "ingest"),
		claimed: map[digest.Digest]bool{},
		writers: map[digest.Digest]*Writer{},
		changed: make(chan struct{}),
		twin:    func(digest.Digest, string) {},
	}
	for _, dir := range []string{s.blobs, s.ingest} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("open blobs: %w", err)
		}
	}
	left, err := os.ReadDir(s.ingest)
	if err != nil {
		return nil, fmt.Errorf("open blobs: %w", err)
	}
	for _, e := range left {
		if strings.HasPrefix(e.Name(), newPrefix) {
			if err := os.Remove(filepath.Join(s.ingest, e.Name())); err != nil {
				return nil, fmt.Errorf("open blobs: remove leftover: %w", err)
			}
		}
	}
	return s, nil
}

// Twin names a second store of blobs on the same file system, a registry's: it hears of every blob that was committed here,
// and may make its own copy a link to the file at path. So both take the space of one, and each removes what it
// no longer needs without a word to the other. Same is what this store offers in turn. It is to be called before
// the store is used.
func (s *Store) Twin(twin func(d digest.Digest, path string)) { s.twin = twin }

// Same makes the blob d, if it is in the store, a link to the file at path, which holds it verified.
func (s *Store) Same(d digest.Digest, path string) {
	target, err := s.path(d)
	if err != nil {
		return
	}
	here, err := os.Stat(target)
	if err != nil {
		return
	}
	there, err := os.Stat(path)
	if err != nil || os.SameFile(here, there) || here.Size() != there.Size() {
		return
	}
	// Where no link can be had both keep their own. A leftover has a name that Open removes.
	tmp := filepath.Join(s.ingest, newPrefix+rand.Text()+partSuffix)
	if os.Link(path, tmp) == nil && os.Rename(tmp, target) != nil {
		os.Remove(tmp)
	}
}

func (s *Store) path(d digest.Digest) (string, error) {
	sum, ok := strings.CutPrefix(string(d), "sha256:")
	if !ok || len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "" { // not by the module's regular expression: lists ask for thousands
		return "", fmt.Errorf("blob %q: not a sha256 digest: %w", string(d), errdefs.ErrInvalidArgument)
	}
	return s.blobs + string(filepath.Separator) + sum, nil
}

// Open opens a blob for reading and tells its size; the caller closes it. It stays readable when the blob is
// removed meanwhile. An absent one is errdefs.ErrNotFound.
func (s *Store) Open(d digest.Digest) (*os.File, int64, error) {
	p, err := s.path(d)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(p)
	if err != nil {
		return nil, 0, missing(d, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("open blob %s: %w", d, err)
	}
	return f, info.Size(), nil
}

// Stat tells the size of a blob. An absent one is errdefs.ErrNotFound.
func (s *Store) Stat(d digest.Digest) (int64, error) {
	p, err := s.path(d)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(p)
	if err != nil {
		return 0, missing(d, err)
	}
	return info.Size(), nil
}

// Has tells whether the blob is in the store.
func (s *Store) Has(d digest.Digest) bool {
	_, err := s.Stat(d)
	return err == nil
}

// Read returns a small blob whole, after hashing it once more: documents steer everything else, so damage on
// the disk must not pass for one. A blob larger than limit is errdefs.ErrOutOfRange, a damaged one errdefs.ErrDataLoss.
func (s *Store) Read(d digest.Digest, limit int64) ([]byte, error) {
	f, size, err := s.Open(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, fmt.Errorf("read blob %s: %d bytes, more than %d: %w", d, size, limit, errdefs.ErrOutOfRange)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(f, body); err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d, err)
	}
	if got := digest.FromBytes(body); got != d {
		return nil, fmt.Errorf("read blob %s: the file holds %s: %w", d, got, errdefs.ErrDataLoss)
	}
	return body, nil
}

// Put stores bytes that are at hand, after checking that they are d.
func (s *Store) Put(d digest.Digest, body []byte) error {
	if got := digest.FromBytes(body); got != d {
		return mismatch(d, got)
	}
	if size, err := s.Stat(d); err == nil && size == int64(len(body)) {
		return nil
	}
	w, err := s.New()
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := io.Copy(w, bytes.NewReader(body)); err != nil {
		return err
	}
	return w.Commit()
}

// Delete removes a blob; removing an absent one is no error.
func (s *Store) Delete(d digest.Digest) error {
	p, err := s.path(d)
	if err != nil {
		return err
	}
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob %s: %w", d, err)
	}
	return nil
}

// List returns the digests in the store, in order.
func (s *Store) List() ([]digest.Digest, error) {
	entries, err := os.ReadDir(s.blobs)
	if err != nil {
		return nil, fmt.Errorf("list blobs: %w", err)
	}
	var all []digest.Digest
	for _, e := range entries {
		if d := digest.NewDigestFromEncoded(digest.SHA256, e.Name()); d.Validate() == nil {
			all = append(all, d)
		}
	}
	return all, nil
}

// Sweep removes every blob for which keep says no. keep is asked right before each removal.
func (s *Store) Sweep(keep func(digest.Digest) bool) (removed int, freed int64, err error) {
	all, err := s.List()
	if err != nil {
		return 0, 0, err
	}
	for _, d := range all {
		if keep(d) {
			continue
		}
		size, err := s.Stat(d)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err == nil {
			err = s.Delete(d)
		}
		if err != nil {
			return removed, freed, err
		}
		removed++
		freed += size
	}
	return removed, freed, nil
}

// SweepParts removes the leavings of broken transfers for which keep says no; those being written stay.
func (s *Store) SweepParts(keep func(d digest.Digest, last time.Time) bool) (freed int64, err error) {
	entries, err := os.ReadDir(s.ingest)
	if err != nil {
		return 0, fmt.Errorf("sweep parts: %w", err)
	}
	for _, e := range entries {
		d := digest.NewDigestFromEncoded(digest.SHA256, strings.TrimSuffix(e.Name(), partSuffix))
		info, err := e.Info()
		if d.Validate() != nil || err != nil || !s.claim(d) {
			continue
		}
		if !keep(d, info.ModTime()) {
			if err = os.Remove(filepath.Join(s.ingest, e.Name())); err == nil {
				freed += info.Size()
			}
		}
		s.release(d)
		if err != nil {
			return freed, fmt.Errorf("sweep parts: %w", err)
		}
	}
	return freed, nil
}

// claim makes the caller the only one to touch the part of d.
func (s *Store) claim(d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claimed[d] {
		return false
	}
	s.claimed[d] = true
	return true
}

func (s *Store) release(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.claimed, d)
	s.announce(d, nil)
}

// announce tells those who wait in Follow about a new writer, or about the end of one. Callers hold s.mu.
func (s *Store) announce(d digest.Digest, w *Writer) {
	if w != nil {
		s.writers[d] = w
	} else {
		delete(s.writers, d)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// Follow reads the blob d from its first byte: the stored one, or the one being written, see Writer.Follow. When there is
// neither it waits until ctx is done. A writer that continues what an earlier one left is not followed but waited for:
// what it begins with may be anything.
func (s *Store) Follow(ctx context.Context, d digest.Digest) (io.ReadCloser, error) {
	for {
		s.mu.Lock()
		w, changed := s.writers[d], s.changed
		s.mu.Unlock()
		f, _, err := s.Open(d)
		if err == nil {
			return f, nil
		}
		if !errdefs.IsNotFound(err) {
			return nil, err
		}
		if w != nil && !w.resumed {
			r, err := w.Follow(ctx)
			if !errors.Is(err, fs.ErrNotExist) {
				return r, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-changed:
		}
	}
}

func missing(d digest.Digest, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("blob %s: %w", d, errdefs.ErrNotFound)
	}
	return fmt.Errorf("open blob %s: %w", d, err)
}

func mismatch(want, got digest.Digest) error {
	return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("content has digest %s, expected %s", got, want))
}
