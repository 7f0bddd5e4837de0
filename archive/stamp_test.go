package archive

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestStamp: what was made late carries the time of the newest thing that was there before, links and folders as well, and compiled Python
// stays good for its source.
func TestStamp(t *testing.T) {
	dir := t.TempDir()
	since := time.Now().Add(-time.Hour)
	old := time.Date(2020, 1, 2, 3, 4, 5, 678, time.UTC)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string, body []byte, at time.Time) {
		t.Helper()
		must(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		must(os.WriteFile(filepath.Join(dir, name), body, 0o644))
		if !at.IsZero() {
			must(os.Chtimes(filepath.Join(dir, name), at, at))
		}
	}
	pyc := func(flags, at uint32) []byte {
		b := make([]byte, 20)
		binary.LittleEndian.PutUint32(b, 3531)
		binary.LittleEndian.PutUint32(b[4:], flags)
		binary.LittleEndian.PutUint32(b[8:], at)
		return b
	}
	now := uint32(time.Now().Unix())
	write("old", nil, old)
	write("a/b/new", []byte("x"), time.Time{})
	must(os.Symlink("old", filepath.Join(dir, "a/link")))
	write("p/__pycache__/m.cpython-313.pyc", pyc(0, now), time.Time{})
	write("p/__pycache__/hash.cpython-313.pyc", pyc(1, now), time.Time{})
	write("p/__pycache__/older.cpython-313.pyc", pyc(0, 1234), time.Time{})
	write("p/__pycache__/short.pyc", []byte("x"), time.Time{})

	root, err := os.Open(dir)
	must(err)
	defer root.Close()
	at, err := Stamp(context.Background(), root, since, time.Unix(1000, 0))
	must(err)
	want := old.Truncate(time.Second)
	if !at.Equal(want) {
		t.Errorf("stamped %v, want %v", at, want)
	}
	must(filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
		if err == nil && !info.ModTime().Equal(want) {
			t.Errorf("%s has %v", name, info.ModTime())
		}
		return err
	}))
	for name, when := range map[string]uint32{"m.cpython-313": uint32(want.Unix()), "hash.cpython-313": now, "older.cpython-313": 1234} {
		body, err := os.ReadFile(filepath.Join(dir, "p/__pycache__", name+".pyc"))
		must(err)
		if got := binary.LittleEndian.Uint32(body[8:]); got != when {
			t.Errorf("%s: %d, want %d", name, got, when)
		}
	}
	if at, err = Stamp(context.Background(), root, since, time.Unix(2000000000, 0)); err != nil || at.Unix() != 2000000000 {
		t.Errorf("a newer floor: %v, %v", at, err)
	}
}
