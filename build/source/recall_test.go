package source

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestRecallForgets: notes on layers that are gone do not stay until the next start.
func TestRecallForgets(t *testing.T) {
	built := []string{"kept"}
	r := newRecall(filepath.Join(t.TempDir(), "contents"), func() []string { return built })
	contents := map[string]digest.Digest{"a b\n": digest.FromString("x")}
	if err := r.keep("kept", contents); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * tidyAfter {
		if err := r.keep(fmt.Sprint("gone", i), contents); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(r.folder)
	if err != nil || len(left) > tidyAfter+2 || len(r.told) > tidyAfter+2 {
		t.Errorf("%d notes, %d told: %v", len(left), len(r.told), err)
	}
	if got := r.read("kept"); len(got) != 1 || got["a b\n"] != contents["a b\n"] {
		t.Error(got)
	}
}
