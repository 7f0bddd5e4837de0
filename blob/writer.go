package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// ErrStalePart marks a digest mismatch of content that began with what an earlier transfer had left: the part
// is gone now, and a transfer from the start may well succeed.
var ErrStalePart = errors.New("the part left by an earlier transfer was bad")

// ErrNotCommitted is what followers of a writer read when it was closed before its content was complete.
var ErrNotCommitted = errors.New("transfer was given up")

// Writer takes the bytes of one blob, in order, from one goroutine; any number may Follow it.
type Writer struct {
	store   *Store
	digest  digest.Digest // "" until known
	size    int64         // -1: not known
	file    *os.File
	part    string
	hash    hash.Hash
	resumed bool

	mu      sync.Mutex
	changed *sync.Cond
	written int64
	ended   bool
	err     error // how it ended
}

// Writer opens the blob d for writing, continuing what an earlier writer left: see Offset. Only one writer of a
// blob exists at a time, a second is refused with errdefs.ErrUnavailable. Close it in any case.
func (s *Store) Writer(d digest.Digest, size int64) (*Writer, error) {
	if _, err := s.path(d); err != nil {
		return nil, err
	}
	if !s.claim(d) {
		return nil, fmt.Errorf("write blob %s: it is being written: %w", d, errdefs.ErrUnavailable)
	}
	w := newWriter(s, d, size)
	if err := w.openPart(filepath.Join(s.ingest, d.Encoded()+partSuffix)); err != nil {
		s.release(d)
		return nil, fmt.Errorf("write blob %s: %w", d, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announce(d, w)
	return w, nil
}

// New opens a writer for content whose digest is known only when all of it is there, see Digest. Nothing of it
// stays unless it is committed.
func (s *Store) New() (*Writer, error) {
	w := newWriter(s, "", -1)
	f, err := os.CreateTemp(s.ingest, newPrefix+"*"+partSuffix)
	if err != nil {
		return nil, fmt.Errorf("write new blob: %w", err)
	}
	w.file, w.part = f, f.Name()
	return w, nil
}

func newWriter(s *Store, d digest.Digest, size int64) *Writer {
	w := &Writer{store: s, digest: d, size: size, hash: sha256.New()}
	w.changed = sync.NewCond(&w.mu)
	return w
}

// openPart opens the part and hashes what is there; a part larger than the blob cannot be of it.
func (w *Writer) openPart(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(w.hash, f)
	if err == nil && n > w.size {
		w.hash.Reset()
		n = 0
		if err = f.Truncate(0); err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
	}
	if err != nil {
		f.Close()
		return err
	}
	w.file, w.part, w.written, w.resumed = f, path, n, n > 0
	return nil
}

// Offset is how many bytes are there already: the next Write must continue there.
func (w *Writer) Offset() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written
}

// Write appends p. More bytes than the blob has are errdefs.ErrFailedPrecondition.
func (w *Writer) Write(p []byte) (int, error) {
	if w.size >= 0 && w.Offset()+int64(len(p)) > w.size {
		return 0, errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("blob %s: more than the %d bytes it should have", w.digest, w.size))
	}
	n, err := w.file.Write(p)
	w.hash.Write(p[:n])
	w.mu.Lock()
	w.written += int64(n)
	w.changed.Broadcast()
	w.mu.Unlock()
	if err != nil {
		return n, fmt.Errorf("write blob: %w", err)
	}
	return n, nil
}

// Digest is the digest of what has been written so far.
func (w *Writer) Digest() digest.Digest { return digest.NewDigest(digest.SHA256, w.hash) }

// Commit verifies size and digest, makes the content durable and moves it into the store. What fails to verify
// is deleted.
func (w *Writer) Commit() error {
	err := w.verify()
	if err == nil {
		err = w.store.commits.add(w)
	}
	w.end(err)
	return err
}

func (w *Writer) verify() error {
	if n := w.Offset(); w.size >= 0 && n != w.size {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("blob %s: has %d bytes, expected %d", w.digest, n, w.size))
	}
	got := w.Digest()
	if w.digest == "" {
		w.digest = got
		return nil
	}
	if got == w.digest {
		return nil
	}
	os.Remove(w.part)
	if w.resumed {
		return fmt.Errorf("%w (%w)", mismatch(w.digest, got), ErrStalePart)
	}
	return mismatch(w.digest, got)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Abort gives followers a reason why nothing more will come. Close is still to be called.
func (w *Writer) Abort(err error) { w.end(err) }

// Discard deletes what has been written; for content that proved wrong. Close is still to be called.
func (w *Writer) Discard() {
	w.end(ErrNotCommitted)
	os.Remove(w.part)
}

// Close ends the writer. Without Commit, followers read ErrNotCommitted; the part of a known blob stays to be resumed.
func (w *Writer) Close() error {
	if w.file == nil {
		return nil
	}
	w.mu.Lock()
	committed := w.ended && w.err == nil
	w.mu.Unlock()
	w.end(ErrNotCommitted)
	err := w.file.Close()
	w.file = nil
	if w.size < 0 {
		if !committed {
			os.Remove(w.part)
		}
		return err
	}
	w.store.release(w.digest)
	return err
}

// end wakes the followers; the first reason stands.
func (w *Writer) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.ended, w.err = true, err
		w.changed.Broadcast()
	}
}

// Follow reads the blob from its first byte while it is being written. The end of file comes only after a
// successful Commit: whoever has read it knows that all was verified. Done ctx ends a waiting Read.
func (w *Writer) Follow(ctx context.Context) (io.ReadCloser, error) {
	f, err := os.Open(w.part)
	if err != nil {
		return nil, fmt.Errorf("follow blob %s: %w", w.digest, err)
	}
	stop := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changed.Broadcast()
	})
	return &follower{ctx: ctx, w: w, file: f, stop: stop}, nil
}

type follower struct {
	ctx  context.Context
	w    *Writer
	file *os.File
	at   int64
	stop func() bool
}

func (f *follower) Read(p []byte) (int, error) {
	limit, err := f.wait()
	if err != nil {
		return 0, err
	}
	if int64(len(p)) > limit-f.at {
		p = p[:limit-f.at]
	}
	n, err := f.file.ReadAt(p, f.at)
	f.at += int64(n)
	return n, err
}

// wait returns once something beyond f.at has been written, or tells why nothing will be.
func (f *follower) wait() (int64, error) {
	w := f.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.written == f.at && !w.ended && f.ctx.Err() == nil {
		w.changed.Wait()
	}
	switch {
	case f.ctx.Err() != nil:
		return 0, f.ctx.Err()
	case w.written > f.at:
		return w.written, nil
	case w.err != nil:
		return 0, w.err
	}
	return 0, io.EOF
}

func (f *follower) Close() error {
	f.stop()
	return f.file.Close()
}
