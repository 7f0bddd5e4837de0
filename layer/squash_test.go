package layer

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"testing"
)

// TestSquash makes and removes snapshots at random: what is left of the removed ones is merged, and every other one, and
// the layer, stay to the nanosecond what they were, also through restarts.
func TestSquash(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	ids := h.box("c0")
	for seed := range int64(20) {
		id := fmt.Sprintf("c%d", seed)
		if seed > 0 {
			must(t, h.Create(ctx, id, ids))
		}
		random := rand.New(rand.NewSource(1000 + seed))
		want := map[string]string{}
		for range 8 {
			h.within(id, func(root string) { stir(random, root) })
			if random.Intn(4) > 0 {
				now := h.portrait(id)
				snap, err := h.Freeze(ctx, id, Snapshot{})
				must(t, err)
				want[snap.ID] = now
			}
		}
		for left := h.Snapshots(id); ; left = h.Snapshots(id) {
			now := h.portrait(id)
			must(t, h.Squash(ctx, id))
			if got := h.portrait(id); got != now {
				t.Fatalf("seed %d: with %d snapshots the layer became\n%s\nwas\n%s", seed, len(left), got, now)
			}
			for _, snap := range left {
				must(t, h.CloneSnapshot(ctx, "look", snap))
				if got := h.portrait("look"); got != want[snap.ID] {
					t.Fatalf("seed %d: a snapshot became\n%s\nwas\n%s", seed, got, want[snap.ID])
				}
				must(t, h.Delete(ctx, "look"))
			}
			if len(left) == 0 {
				break
			}
			must(t, h.Forget(ctx, left[random.Intn(len(left))]))
			if random.Intn(3) == 0 {
				h.reopen()
			}
		}
		if r := h.known.writable[id]; len(r.Below) != 0 {
			t.Errorf("seed %d: %d trees are left below", seed, len(r.Below))
		}
		must(t, h.Delete(ctx, id))
		if n := h.trees(); n != 0 {
			t.Errorf("seed %d: %d trees are left", seed, n)
		}
	}
}

// TestSquashKeepsWhatOthersHave merges nothing that a clone, a copy or a reader has.
func TestSquashKeepsWhatOthersHave(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	h.box("c")
	h.within("c", func(root string) { fill(t, root) })
	snap, err := h.Freeze(ctx, "c", Snapshot{})
	must(t, err)
	h.within("c", func(root string) { must(t, os.WriteFile(root+"/later", nil, 0o600)) })
	must(t, h.Clone(ctx, "twin", "c", nil), h.Forget(ctx, snap))
	twin, c := h.portrait("twin"), h.portrait("c")
	must(t, h.Squash(ctx, "c"))
	if r := h.known.writable["c"]; len(r.Below) != 2 {
		t.Errorf("trees that a clone stands on were merged: %+v", r)
	}
	must(t, h.Delete(ctx, "twin"))
	copied, err := h.Photograph(ctx, "c", Snapshot{}, func() {})
	must(t, err)
	h.within("c", func(root string) { // mounted
		must(t, h.Squash(ctx, "c"))
		if r := h.known.writable["c"]; len(r.Below) != 2 {
			t.Errorf("trees were merged under a reader's hands: %+v", r)
		}
	})
	must(t, h.Squash(ctx, "c"))
	if r := h.known.writable["c"]; len(r.Below) != 1 { // on it stand the copy and the layer's own tree
		t.Errorf("%+v", r)
	}
	if got := h.portrait("c"); got != c || got != twin {
		t.Errorf("the layer became\n%s\nwas\n%s", got, c)
	}
	must(t, h.Rollback(ctx, copied))
	if got := h.portrait("c"); got != c {
		t.Errorf("the copy became\n%s\nwas\n%s", got, c)
	}
}

// cutShort is a context that ends when it has been asked so many times.
type cutShort struct {
	context.Context
	left *int
}

func (c cutShort) Err() error {
	if *c.left--; *c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestSquashCutShort ends a merge after each of its steps: the layer shows what it showed, the times of directories
// aside, and another try completes it.
func TestSquashCutShort(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	ids := h.box("c0")
	timeless := func(id string) string {
		var out strings.Builder
		for line := range strings.Lines(h.portrait(id)) {
			words := strings.Fields(line)
			if strings.HasPrefix(words[1], "4") {
				words[3] = ""
			}
			out.WriteString(strings.Join(words, " ") + "\n")
		}
		return out.String()
	}
	for seed := range int64(5) {
		id := fmt.Sprintf("c%d", seed)
		if seed > 0 {
			must(t, h.Create(ctx, id, ids))
		}
		random := rand.New(rand.NewSource(2000 + seed))
		for range 5 {
			h.within(id, func(root string) { stir(random, root) })
			snap, err := h.Freeze(ctx, id, Snapshot{})
			must(t, err, h.Forget(ctx, snap))
		}
		want := timeless(id)
		cuts := 0
		for steps := 1; len(h.known.writable[id].Below) > 0; steps++ {
			left := steps % 7
			if err := h.Squash(cutShort{ctx, &left}, id); err != nil {
				cuts++
			}
			if steps%3 == 0 {
				h.reopen()
			}
			if got := timeless(id); got != want {
				t.Fatalf("seed %d, step %d: the layer became\n%s\nwas\n%s", seed, steps, got, want)
			}
		}
		if cuts < 3 {
			t.Errorf("seed %d: cut short %d times only", seed, cuts)
		}
	}
}
