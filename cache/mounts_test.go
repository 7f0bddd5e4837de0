package cache

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cove-containers/cove/state"
)

func openMounts(t *testing.T, dir string) (*Mounts, *state.DB) {
	t.Helper()
	db, err := state.Open(filepath.Join(dir, "cove.db"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := OpenMounts(filepath.Join(dir, "mounts"), db)
	if err != nil {
		t.Fatal(err)
	}
	return m, db
}

func take(t *testing.T, m *Mounts, r MountRequest) *Mount {
	t.Helper()
	got, err := m.Take(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(got.Release)
	return got
}

func TestMounts(t *testing.T) {
	dir := t.TempDir()
	m, db := openMounts(t, dir)
	filled := 0
	shared := MountRequest{Key: "a", Fill: func(dir *os.File) error {
		filled++
		return os.WriteFile(filepath.Join(dir.Name(), "begin"), nil, 0o644)
	}}
	one, two := take(t, m, shared), take(t, m, shared)
	if one.Dir != two.Dir || filled != 1 {
		t.Error("a shared folder is not shared", filled)
	}
	if other := take(t, m, MountRequest{Key: "b"}); other.Dir == one.Dir {
		t.Error("two keys have one folder")
	}
	private := take(t, m, MountRequest{Key: "a", Sharing: Private})
	if private.Dir == one.Dir {
		t.Error("a private folder is shared")
	}
	one.Release()
	two.Release()
	two.Release()
	again := take(t, m, MountRequest{Key: "a", Sharing: Private})
	if again.Dir != one.Dir {
		t.Error("a free folder is not used again")
	}
	if _, err := os.Stat(filepath.Join(again.Dir, "begin")); err != nil {
		t.Error(err)
	}
	records, inUse, err := m.List(t.Context())
	if err != nil || len(records) != 3 || !inUse[filepath.Base(again.Dir)] || records[0].Kind != ExecMount {
		t.Error(records, inUse, err)
	}
	if err := m.Remove(filepath.Base(again.Dir)); err == nil {
		t.Error("a folder in use is removed")
	}
	private.Release()
	again.Release()

	// A crash leaves nothing half made, and everything else.
	if err := os.MkdirAll(filepath.Join(dir, "mounts/half/made"), 0o700); err != nil {
		t.Fatal(err)
	}
	db.Close()
	m, _ = openMounts(t, dir)
	if records, _, err := m.List(t.Context()); err != nil || len(records) != 3 {
		t.Error(records, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "mounts/half")); err == nil {
		t.Error("half made is left")
	}
	if err := m.Remove(filepath.Base(one.Dir)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(one.Dir); err == nil {
		t.Error("removed is left")
	}
}

func TestLockedMounts(t *testing.T) {
	m, _ := openMounts(t, t.TempDir())
	locked := MountRequest{Key: "a", Sharing: Locked}
	first := take(t, m, locked)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := m.Take(ctx, locked); err == nil {
		t.Error("two have a locked folder")
	}
	var inside, done atomic.Int32
	for range 5 {
		go func() {
			mount, err := m.Take(context.Background(), locked)
			if err != nil || inside.Add(1) != 1 {
				t.Error("not alone", err)
			}
			time.Sleep(time.Millisecond)
			inside.Add(-1)
			mount.Release()
			done.Add(1)
		}()
	}
	first.Release()
	for deadline := time.Now().Add(10 * time.Second); done.Load() < 5; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("they wait for ever")
		}
	}
}

func TestFreshMounts(t *testing.T) {
	m, _ := openMounts(t, t.TempDir())
	old := take(t, m, MountRequest{Key: "a"})
	fresh := take(t, m, MountRequest{Key: "a", Fresh: "build"})
	if fresh.Dir == old.Dir {
		t.Error("it is not begun anew")
	}
	if same := take(t, m, MountRequest{Key: "a", Fresh: "build"}); same.Dir != fresh.Dir {
		t.Error("one build begins twice")
	}
	if next := take(t, m, MountRequest{Key: "a"}); next.Dir != fresh.Dir {
		t.Error("the next build has the old one")
	}
	if _, err := os.Stat(old.Dir); err != nil {
		t.Error("taken away from who uses it:", err)
	}
	old.Release()
	if _, err := os.Stat(old.Dir); err == nil {
		t.Error("the old one is left")
	}
}
