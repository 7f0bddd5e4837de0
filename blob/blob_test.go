package blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

func open(t *testing.T) (*Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func TestPutReadDelete(t *testing.T) {
	s, dir := open(t)
	body := []byte("content")
	d := digest.FromBytes(body)
	if err := s.Put(d, []byte("other")); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("put under another's digest: %v", err)
	}
	if err := s.Put(d, body); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Read(d, 100); err != nil || !bytes.Equal(got, body) {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := s.Read(d, 3); !errdefs.IsOutOfRange(err) {
		t.Errorf("read over the limit: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "blobs/sha256", d.Encoded()), []byte("damage!"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(d, 100); !errdefs.IsDataLoss(err) {
		t.Errorf("read damaged: %v", err)
	}
	if list, err := s.List(); err != nil || len(list) != 1 || list[0] != d {
		t.Errorf("list %v %v", list, err)
	}
	for range 2 {
		if err := s.Delete(d); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := s.Open(d); !errdefs.IsNotFound(err) {
		t.Errorf("open absent: %v", err)
	}
	for _, bad := range []digest.Digest{"", "sha256:..", "sha256:../../../etc/passwd", "sha512:0"} {
		if _, _, err := s.Open(bad); !errdefs.IsInvalidArgument(err) {
			t.Errorf("open %q: %v", bad, err)
		}
	}
}

func TestWriterResumes(t *testing.T) {
	s, dir := open(t)
	body := bytes.Repeat([]byte("0123456789"), 100)
	d := digest.FromBytes(body)
	w, err := s.Writer(d, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Writer(d, 1000); !errdefs.IsUnavailable(err) {
		t.Errorf("second writer: %v", err)
	}
	if _, err := w.Write(body[:400]); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("commit of a part: %v", err)
	}
	w.Close()
	if s, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	w, err = s.Writer(d, 1000)
	if err != nil || w.Offset() != 400 {
		t.Fatalf("offset %d, %v", w.Offset(), err)
	}
	if _, err := w.Write(body); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("too many bytes: %v", err)
	}
	if _, err := w.Write(body[400:]); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if got, err := s.Read(d, 2000); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "ingest")); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestStalePart(t *testing.T) {
	s, _ := open(t)
	d := digest.FromString("right")
	for i, want := range []bool{false, true} {
		w, err := s.Writer(d, 5)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			w.Write([]byte("wr"))
			w.Close()
			continue
		}
		w.Write([]byte("ong"))
		if err := w.Commit(); errors.Is(err, ErrStalePart) != want {
			t.Errorf("commit: %v", err)
		}
		w.Close()
	}
	w, err := s.Writer(d, 5)
	if err != nil || w.Offset() != 0 {
		t.Fatalf("the bad part is still there: %v", err)
	}
	w.Write([]byte("wrong"))
	if err := w.Commit(); err == nil || errors.Is(err, ErrStalePart) {
		t.Errorf("fresh but wrong: %v", err)
	}
	w.Close()
}

func TestFollow(t *testing.T) {
	s, _ := open(t)
	body := bytes.Repeat([]byte("x"), 300000)
	d := digest.FromBytes(body)
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			r, err := s.Follow(t.Context(), d)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) {
				t.Errorf("followed %d bytes, %v", len(got), err)
			}
		})
	}
	time.Sleep(10 * time.Millisecond)
	w, err := s.Writer(d, int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(body, 70000) {
		w.Write(part)
		time.Sleep(time.Millisecond)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	wait.Wait()
}

// TestFollowersHearTheTruth lets a writer end badly: no follower may take what it read for the whole.
func TestFollowersHearTheTruth(t *testing.T) {
	s, _ := open(t)
	d := digest.FromString("right")
	for name, end := range map[string]func(*Writer){
		"closed":    func(w *Writer) {},
		"aborted":   func(w *Writer) { w.Abort(os.ErrDeadlineExceeded) },
		"wrong":     func(w *Writer) { w.Write([]byte("ong")); w.Commit() },
		"discarded": func(w *Writer) { w.Discard() },
	} {
		w, err := s.Writer(d, 5)
		if err != nil {
			t.Fatal(err)
		}
		r, err := w.Follow(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte("wr"))
		end(w)
		w.Close()
		if got, err := io.ReadAll(r); err == nil {
			t.Errorf("%s: read %q to its end", name, got)
		}
		r.Close()
		os.Remove(w.part)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Follow(ctx, d); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("follow what nobody writes: %v", err)
	}
}

func TestNewAndSweep(t *testing.T) {
	s, dir := open(t)
	keep, drop := digest.FromString("keep"), digest.FromString("drop")
	for _, body := range []string{"keep", "drop"} {
		w, err := s.New()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, body)
		if w.Digest() != digest.FromString(body) {
			t.Error("digest")
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	w, _ := s.New()
	io.WriteString(w, "given up")
	w.Close()
	part, _ := s.Writer(digest.FromString("part"), 9)
	io.WriteString(part, "par")
	never := func(digest.Digest, time.Time) bool { return false }
	if freed, err := s.SweepParts(never); freed != 0 || err != nil {
		t.Errorf("swept a part under a writer: %d, %v", freed, err)
	}
	part.Close()
	if freed, err := s.SweepParts(never); freed != 3 || err != nil {
		t.Errorf("swept parts: %d, %v", freed, err)
	}
	removed, freed, err := s.Sweep(func(d digest.Digest) bool { return d == keep })
	if removed != 1 || freed != 4 || err != nil || !s.Has(keep) || s.Has(drop) {
		t.Errorf("swept %d, %d bytes, %v", removed, freed, err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "ingest")); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// TestTwin gives two stores the same blob, in either order, and expects one file that outlives its removal from one of them.
func TestTwin(t *testing.T) {
	for _, second := range []string{"same bytes", ""} {
		a, adir := open(t)
		b, bdir := open(t)
		a.Twin(b.Same)
		b.Twin(a.Same)
		d := digest.FromString(second)
		for _, s := range []*Store{a, b} {
			if err := s.Put(d, []byte(second)); err != nil {
				t.Fatal(err)
			}
		}
		one, err := os.Stat(filepath.Join(adir, "blobs/sha256", d.Encoded()))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.Stat(filepath.Join(bdir, "blobs/sha256", d.Encoded()))
		if err != nil || !os.SameFile(one, two) {
			t.Errorf("stored twice, %v", err)
		}
		if err := a.Delete(d); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Read(d, 100); string(got) != second || err != nil {
			t.Errorf("after the other removed it: %q, %v", got, err)
		}
		for _, dir := range []string{adir, bdir} {
			if left, _ := os.ReadDir(filepath.Join(dir, "ingest")); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		}
	}
}
