package repository_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/repository"
)

// TestCheck damages what is stored and looks at what a check says of it, and whether a repair ends it.
func TestCheck(t *testing.T) {
	s, storage := open(t, repository.Config{})
	m := push(t, s, "team/app", "1", "one", 2)
	push(t, s, "team/app", "2", "two", 1)
	push(t, s, "other", "latest", "one", 2)
	blob := func(content string) string { return "blobs/sha256/" + digest.FromString(content).Encoded() }
	problems := func(deep bool) (all []string) {
		t.Helper()
		found, err := s.Check(t.Context(), deep)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found.Faults {
			if f.Persists != nil && !f.Persists() {
				continue
			}
			all = append(all, f.Name+": "+f.Problem)
			if f.Mend != nil {
				if err := f.Mend(t.Context()); err != nil {
					t.Errorf("%s: %v", f.Name, err)
				}
			}
		}
		slices.Sort(all)
		return all
	}
	if got := problems(true); len(got) > 0 {
		t.Fatalf("nothing is wrong: %q", got)
	}
	// A blob that says something else is found by reading it, and by nothing else.
	if err := storage.Put(t.Context(), blob("two 1"), strings.NewReader("twi 1"), 5); err != nil {
		t.Fatal(err)
	}
	if got := problems(false); len(got) > 0 {
		t.Errorf("without reading: %q", got)
	}
	if got, want := problems(true), digest.FromString("two 1").String()+": the blob is damaged"; len(got) != 1 || got[0] != want {
		t.Errorf("damaged: %q", got)
	}
	// It was removed, so now it is missing, and a push brings it again.
	if got := problems(true); len(got) != 1 || !strings.HasSuffix(got[0], "blob "+digest.FromString("two 1").String()+" is missing") {
		t.Errorf("missing: %q", got)
	}
	push(t, s, "team/app", "2", "two", 1)
	if got := problems(true); len(got) > 0 {
		t.Errorf("pushed again: %q", got)
	}
	// What two repositories have is missing in both.
	if err := storage.Delete(t.Context(), blob("one 2")); err != nil {
		t.Fatal(err)
	}
	if got := problems(false); len(got) != 2 || !strings.HasPrefix(got[0], "other@") || !strings.HasPrefix(got[1], "team/app@") {
		t.Errorf("shared: %q", got)
	}
	cache := over(t, storage, repository.Config{Cache: true})
	if found, err := cache.Check(t.Context(), true); err != nil || len(found.Faults) > 0 {
		t.Errorf("a cache need not have everything: %v %v", found.Faults, err)
	}
	push(t, s, "other", "latest", "one", 2)
	// A tag without its manifest goes.
	if err := storage.Delete(t.Context(), fmt.Sprintf("manifests/team/app+/%s", m.Digest)); err != nil {
		t.Fatal(err)
	}
	if got := problems(false); len(got) != 1 || got[0] != "team/app:1: the tag points to nothing" {
		t.Errorf("a tag to nothing: %q", got)
	}
	if got := problems(true); len(got) > 0 {
		t.Errorf("repaired: %q", got)
	}
}
