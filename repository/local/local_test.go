package local

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/repository"
	"github.com/cove-containers/cove/repository/contract"
)

func TestContract(t *testing.T) {
	contract.Test(t, func(t *testing.T) repository.Storage {
		s, err := Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestKeysStayInside(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(filepath.Join(dir, "in"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "..", "../secret", "a/../../secret", "/etc/passwd", "a//b", "a/./b", ".", "tmp/x", "a\x00b", `a\b`} {
		if _, err := s.Stat(t.Context(), key); !errdefs.IsInvalidArgument(err) {
			t.Errorf("stat %q: %v", key, err)
		}
		if _, _, err := s.Open(t.Context(), key, 0); !errdefs.IsInvalidArgument(err) {
			t.Errorf("open %q: %v", key, err)
		}
		if err := s.Put(t.Context(), key, strings.NewReader("x"), 1); !errdefs.IsInvalidArgument(err) {
			t.Errorf("put %q: %v", key, err)
		}
		if err := s.Delete(t.Context(), key); !errdefs.IsInvalidArgument(err) {
			t.Errorf("delete %q: %v", key, err)
		}
	}
	if _, err := s.List(t.Context(), "../", "", 0); !errdefs.IsInvalidArgument(err) {
		t.Errorf("list above the root: %v", err)
	}
}

func TestNothingStaysOfWhatIsDeleted(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{"a/b/c/one", "a/b/two", "x"}
	for _, key := range keys {
		contract.Put(t, s, key, []byte(key))
	}
	if err := s.Delete(t.Context(), keys...); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "tmp" {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestLeftoversGo leaves files as a killed writer would, and one that is being written.
func TestLeftoversGo(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	dead, young := filepath.Join(dir, "tmp", "dead"), filepath.Join(dir, "tmp", "young")
	for _, p := range []string{dead, young} {
		if err := os.WriteFile(p, []byte("part"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writing, err := s.create()
	if err != nil {
		t.Fatal(err)
	}
	defer writing.Close()
	for _, p := range []string{dead, writing.Name()} {
		if err := os.Chtimes(p, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]bool{dead: false, young: true, writing.Name(): true} {
		if _, err := os.Stat(p); (err == nil) != want {
			t.Errorf("%s: %v", filepath.Base(p), err)
		}
	}
}

// TestTwins puts the same blob into two stores and expects one file.
func TestTwins(t *testing.T) {
	dir := t.TempDir()
	a, err := Open(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(filepath.Join(dir, "b"))
	if err != nil {
		t.Fatal(err)
	}
	a.Twin(b.Same)
	b.Twin(a.Same)
	body := []byte("the same bytes")
	d := digest.FromBytes(body)
	key := "blobs/sha256/" + d.Encoded()
	contract.Put(t, a, key, body)
	contract.Put(t, b, key, body)
	one, err := os.Stat(filepath.Join(dir, "a", key))
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.Stat(filepath.Join(dir, "b", key))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(one, two) {
		t.Error("the blob is stored twice")
	}
	if err := a.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	contract.Missing(t, a, key)
	contract.Holds(t, b, key, body)
	if left, _ := os.ReadDir(filepath.Join(dir, "a", "tmp")); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// TestFullDisk writes to a file system of 2 MB until it is full.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	contract.Put(t, s, "small", []byte("here"))
	err = s.Put(context.Background(), "large", io.LimitReader(zeros{}, 8<<20), 8<<20)
	if !errdefs.IsResourceExhausted(err) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put on a full disk: %v", err)
	}
	contract.Missing(t, s, "large")
	contract.Holds(t, s, "small", []byte("here"))
	if left, _ := os.ReadDir(filepath.Join(dir, "tmp")); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	contract.Put(t, s, "fits", bytes.Repeat([]byte("x"), 1<<20))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
