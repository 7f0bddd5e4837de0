package state

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
)

type doc struct{ A int }

func open(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cove.db")
	db := open(t, path)
	table, err := NewTable[doc](db, "docs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Get("x"); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("absent key: %v", err)
	}
	if err := table.Put("x", doc{1}); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("stop")
	err = db.Update(func(tx *Tx) error {
		if err := table.PutIn(tx, "y", doc{2}); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("update returned %v", err)
	}
	all, err := table.All()
	if err != nil || len(all) != 1 || all["x"].A != 1 {
		t.Errorf("after a failed update: %v, %v", all, err)
	}
	if _, err := Open(path); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("second open: %v", err)
	}
	if err := table.Delete("x"); err != nil {
		t.Fatal(err)
	}
	if err := table.Delete("x"); err != nil {
		t.Errorf("deleting twice: %v", err)
	}
}

// TestKilledWriterLosesNothing kills a process between two commits and expects all that it said was stored.
func TestKilledWriterLosesNothing(t *testing.T) {
	if os.Getenv("COVE_STATE_WRITER") != "" {
		db, _ := Open(os.Getenv("COVE_STATE_WRITER"))
		table, _ := NewTable[doc](db, "docs")
		for i := 1; ; i++ {
			if table.Put("n", doc{i}) == nil && i == 20 {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "cove.db")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriterLosesNothing$")
	cmd.Env = append(os.Environ(), "COVE_STATE_WRITER="+path)
	if err := cmd.Run(); err == nil {
		t.Fatal("the writer was not killed")
	}
	table, err := NewTable[doc](open(t, path), "docs")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := table.Get("n"); err != nil || got.A != 20 {
		t.Errorf("got %+v, %v", got, err)
	}
}
