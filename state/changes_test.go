package state

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func TestWritesTogether(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "cove.db"))
	table, err := NewTable[doc](db, "docs")
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("stop")
	var wait sync.WaitGroup
	for n := range 60 {
		wait.Go(func() {
			err := db.Update(func(tx *Tx) error {
				if err := table.PutIn(tx, fmt.Sprint(n), doc{n}); err != nil || n%10 != 3 {
					return err
				}
				return broken
			})
			if (n%10 == 3) != errors.Is(err, broken) {
				t.Errorf("update %d: %v", n, err)
			}
			if _, err := table.Get(fmt.Sprint(n)); (n%10 == 3) != (err != nil) {
				t.Errorf("document %d after its update: %v", n, err)
			}
		})
	}
	wait.Wait()
	if all, err := table.All(); err != nil || len(all) != 54 {
		t.Errorf("%d documents, %v", len(all), err)
	}
}

func TestLaterTravelsWithTheNext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cove.db")
	db := open(t, path)
	table, err := NewTable[doc](db, "docs")
	if err != nil {
		t.Fatal(err)
	}
	table.PutLater("a", doc{1})
	if err := table.Put("b", doc{2}); err != nil {
		t.Fatal(err)
	}
	if got, err := table.Get("a"); err != nil || got.A != 1 {
		t.Errorf("after the next write: %v, %v", got, err)
	}

	// In order: what was asked for first is done first.
	table.PutLater("a", doc{3})
	table.DeleteLater("b")
	if err := table.Put("b", doc{4}); err != nil {
		t.Fatal(err)
	}
	if got, err := table.Get("b"); err != nil || got.A != 4 {
		t.Errorf("put after a delete left for later: %v, %v", got, err)
	}

	// By itself after a moment.
	table.DeleteLater("a")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := table.Get("a"); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("never written")
		}
	}

	// When the database is closed.
	table.PutLater("c", doc{5})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, path)
	if table, err = NewTable[doc](db, "docs"); err != nil {
		t.Fatal(err)
	}
	if got, err := table.Get("c"); err != nil || got.A != 5 {
		t.Errorf("after close: %v, %v", got, err)
	}
}

func TestPanicLeavesNobodyWaiting(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "cove.db"))
	table, err := NewTable[doc](db, "docs")
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_ = db.Update(func(*Tx) error { panic("broken") })
	}()
	if err := table.Put("x", doc{1}); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkPut(b *testing.B) {
	db, err := Open(filepath.Join(b.TempDir(), "cove.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	table, err := NewTable[doc](db, "docs")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			if err := table.Put("x", doc{1}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("twenty", func(b *testing.B) {
		b.SetParallelism(10)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := table.Put("x", doc{1}); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
