package blob

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestCommitsAtOnce: many that become complete at the same time are all there when they are said to be, and one that cannot be moved
// fails alone.
func TestCommitsAtOnce(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			w, err := s.New()
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Close()
			body := []byte(fmt.Sprint("blob ", i%50)) // some twice
			w.Write(body)
			if i == 7 {
				if err := os.Remove(w.part); err != nil {
					t.Error(err)
				}
				if err := w.Commit(); err == nil {
					t.Error("what is gone is committed")
				}
				return
			}
			if err := w.Commit(); err != nil {
				t.Error(err)
			}
			if !s.Has(digest.FromBytes(body)) {
				t.Errorf("blob %d is not there", i)
			}
		})
	}
	all.Wait()
	left, err := os.ReadDir(s.ingest)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
