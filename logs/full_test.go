package logs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFullDiskKeepsWholeRecords: what went in whole stays, so that a reader never loses what it has seen.
func TestFullDiskKeepsWholeRecords(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a small disk")
	}
	dir := t.TempDir()
	if err := syscall.Mount("cove-test", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, 0) })
	for _, driver := range []string{JSONFile, Local} {
		path := filepath.Join(dir, driver)
		w, err := NewWriter(Config{Driver: driver, Path: path, Options: map[string]string{"max-size": "-1"}})
		if err != nil {
			t.Fatal(err)
		}
		s := w.Stream(Stdout)
		full, seen := false, int64(0)
		for range 3000 {
			if _, err := s.Write([]byte("0123456789012345678901234567890123456789\n")); errors.Is(err, syscall.ENOSPC) {
				full = true
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Size() < seen {
				t.Fatalf("%s: the file went from %d back to %d bytes", driver, seen, info.Size())
			}
			seen = info.Size()
		}
		s.Close()
		w.Close()
		n := 0
		err = Read(t.Context(), Config{Driver: driver, Path: path}, Query{Tail: -1, Stdout: true}, nil, func(l Line) error {
			if !bytes.HasPrefix(l.Data, []byte("0123456789")) {
				t.Errorf("%s: %q", driver, l.Data)
			}
			n++
			return nil
		})
		if err != nil || n < 100 || !full {
			t.Errorf("%s: %d lines, full was told: %v, %v", driver, n, full, err)
		}
		if seen < 60_000 {
			t.Errorf("%s: %d bytes of 65536 were kept: whole records were taken back", driver, seen)
		}
		os.Remove(path)
	}
}
