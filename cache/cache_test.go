package cache

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/state"
)

func open(t *testing.T, path string, config Config) (*Store, func()) {
	t.Helper()
	db, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(db, config)
	if err != nil {
		t.Fatal(err)
	}
	return s, func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		db.Close()
	}
}

func fresh(t *testing.T, config Config) *Store {
	t.Helper()
	s, end := open(t, filepath.Join(t.TempDir(), "db"), config)
	t.Cleanup(end)
	return s
}

func listed(t *testing.T, s *Store) []Usage {
	t.Helper()
	list, err := s.List(t.Context())
	if err != nil {
		t.Error(err)
	}
	return list
}

func sizeOf(t *testing.T, s *Store) int64 {
	t.Helper()
	n, err := s.Size(t.Context())
	if err != nil {
		t.Error(err)
	}
	return n
}

func prune(t *testing.T, s *Store, w Wish) ([]Usage, []string) {
	t.Helper()
	gone, layers, err := s.Prune(t.Context(), w)
	if err != nil {
		t.Error(err)
	}
	return gone, layers
}

func key(text string) digest.Digest { return digest.FromString(text) }

// step saves what a step makes on top of a pile.
func step(l *Lease, name string, below ...string) (pile []string) {
	layer := l.Name()
	pile = append(slices.Clone(below), layer)
	l.Save(key(name), Record{Description: name, Piles: [][]string{pile}, Own: []string{layer}})
	return pile
}

func TestLeases(t *testing.T) {
	s := fresh(t, Config{})
	l := s.Lease()
	base := step(l, "base", "sha256:image")
	top := step(l, "top", base...)
	half := l.Name()
	for _, name := range append(top, half) {
		if !s.Holds(name) {
			t.Errorf("%s is not held", name)
		}
	}
	if _, gone := prune(t, s, Wish{Down: -1}); len(gone) != 0 {
		t.Errorf("pruned what a lease holds: %v", gone)
	}
	other := s.Lease()
	r, ok := other.Lookup(key("top"))
	if !ok || r.Description != "top" || r.Kind != Regular || !slices.Equal(r.Piles[0], top) {
		t.Errorf("found %+v, %v", r, ok)
	}
	if orphans := l.Release(); !slices.Equal(orphans, []string{half}) || s.Holds(half) {
		t.Errorf("orphans %v", orphans)
	}
	if again := l.Release(); len(again) != 0 {
		t.Errorf("released twice: %v", again)
	}
	if _, gone := prune(t, s, Wish{Down: -1}); len(gone) != 0 {
		t.Errorf("pruned what another lease holds: %v", gone)
	}
	if orphans := other.Release(); len(orphans) != 0 {
		t.Errorf("orphans of the second: %v", orphans)
	}
	records, gone := prune(t, s, Wish{Down: -1})
	slices.Sort(gone)
	want := slices.Sorted(slices.Values(top[1:]))
	if len(records) != 2 || !slices.Equal(gone, want) || records[0].Description != "top" {
		t.Errorf("pruned %v, layers %v, want %v", records, gone, want)
	}
	if s.Holds("sha256:image") {
		t.Error("the image's layer is still held")
	}
	if _, ok := s.Lease().Lookup(key("top")); ok {
		t.Error("found after prune")
	}
}

func TestAliases(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, end := open(t, path, Config{})
	l := s.Lease()
	step(l, "one")
	step(l, "two")
	for i := range 2 * maxAliases {
		l.Alias(key(fmt.Sprint("to one ", i)), key("one"))
	}
	l.Alias(key("moves"), key("one"))
	l.Alias(key("moves"), key("two"))
	l.Alias(key("nowhere"), key("missing"))
	// A newer outcome takes over the key of an older one.
	l.Alias(key("one"), key("two"))
	check := func() {
		t.Helper()
		for from, want := range map[string]string{"moves": "two", "one": "two", fmt.Sprint("to one ", 2*maxAliases-1): "one", "to one 0": "", "nowhere": ""} {
			r, ok := s.Lease().Lookup(key(from))
			if ok != (want != "") || r.Description != want {
				t.Errorf("%q leads to %q, %v", from, r.Description, ok)
			}
		}
	}
	check()
	l.Release()
	end()
	s, end = open(t, path, Config{})
	defer end()
	check()
}

func TestNewerRecordsTakeThePlace(t *testing.T) {
	s := fresh(t, Config{})
	l := s.Lease()
	first := step(l, "a")
	on := step(l, "on a", first...)
	l.Release()
	l = s.Lease()
	second := step(l, "a")
	r, _ := l.Lookup(key("a"))
	if !slices.Equal(r.Piles[0], second) {
		t.Error("the old one is found")
	}
	if orphans := l.Release(); len(orphans) != 0 {
		t.Errorf("others stand on %v", orphans)
	}
	if !s.Holds(first[0]) || !s.Holds(on[1]) {
		t.Error("what others stand on is gone")
	}
	l = s.Lease()
	step(l, "a")
	if orphans := l.Release(); !slices.Equal(orphans, second) {
		t.Errorf("orphans %v, want %v", orphans, second)
	}
}

func TestRecordsComeAfterTheirLayers(t *testing.T) {
	var synced atomic.Int32
	fails := errors.New("disk is full")
	broken := atomic.Bool{}
	path := filepath.Join(t.TempDir(), "db")
	db, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := Open(db, Config{Sync: func() error {
		synced.Add(1)
		if all, err := s2(db).table.All(); err != nil || len(all) != 0 {
			t.Errorf("%d records are there before their layers, %v", len(all), err)
		}
		if broken.Load() {
			return fails
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	l := s.Lease()
	step(l, "lost")
	if err := s.Close(); !errors.Is(err, fails) {
		t.Error(err)
	}
	broken.Store(false)
	for i := range 20 {
		step(l, fmt.Sprint(i))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := synced.Load(); n != 2 {
		t.Errorf("%d syncs for two writes", n)
	}
	if all, err := s2(db).table.All(); err != nil || len(all) != 21 {
		t.Errorf("%d records, %v", len(all), err)
	}
}

// s2 is a second look at the same database.
func s2(db *state.DB) *Store {
	s, err := Open(db, Config{})
	if err != nil {
		panic(err)
	}
	return s
}

func TestReconcile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, end := open(t, path, Config{})
	l := s.Lease()
	base := step(l, "base")
	step(l, "top", base...)
	step(l, "other")
	l.Release()
	end()
	for i, want := range []int{2, 0} {
		s, end = open(t, path, Config{})
		if n := s.Reconcile(func(pile []string) bool { return !slices.Contains(pile, base[0]) }); n != want {
			t.Errorf("start %d: dropped %d, want %d", i, n, want)
		}
		if _, ok := s.Lease().Lookup(key("other")); !ok || len(listed(t, s)) != 1 {
			t.Error("more than that is gone")
		}
		end()
	}
}

// TestDiscard: a record whose layers are not all there goes though others stand on it, with what nobody needs any more; what a
// build still holds is told when that lets go of it.
func TestDiscard(t *testing.T) {
	s := fresh(t, Config{})
	l := s.Lease()
	base := step(l, "base")
	step(l, "top", base...)
	find := func(k string) Record {
		one := s.Lease()
		defer one.Release()
		r, ok := one.Lookup(key(k))
		if !ok {
			t.Fatal(k)
		}
		return r
	}
	l.Release()
	id := find("base").ID
	if gone := s.Discard(id); len(gone) != 0 {
		t.Errorf("layers that another record names: %v", gone)
	}
	if gone := s.Discard(id); len(gone) != 0 {
		t.Errorf("twice: %v", gone)
	}
	other := s.Lease()
	alone := step(other, "alone")
	if gone := s.Discard(find("alone").ID); len(gone) != 0 {
		t.Errorf("layers that a build holds: %v", gone)
	}
	s.Lease().Release() // of another build: it is too early yet
	if gone := other.Release(); !slices.Equal(gone, alone) {
		t.Errorf("%v, want %v", gone, alone)
	}
}

func TestList(t *testing.T) {
	sizes := map[string]int64{}
	s := fresh(t, Config{Measure: func(name string) (int64, error) {
		n, ok := sizes[name]
		if !ok {
			return 0, errdefs.ErrNotFound
		}
		return n, nil
	}})
	l := s.Lease()
	base := step(l, "base", "sha256:image")
	top := step(l, "top", base...)
	sizes[base[1]], sizes[top[2]] = 100, 20
	l.Release()
	held := s.Lease()
	held.Lookup(key("base"))
	byName := map[string]Usage{}
	for _, u := range listed(t, s) {
		byName[u.Description] = u
	}
	if b, u := byName["base"], byName["top"]; b.Size != 100 || u.Size != 20 || !b.Shared || u.Shared || !b.InUse || u.InUse ||
		len(b.Parents) != 0 || !slices.Equal(u.Parents, []string{b.ID}) {
		t.Errorf("base %+v, top %+v", b, u)
	}
	if sizeOf(t, s) != 120 {
		t.Error("size", sizeOf(t, s))
	}
	if r, err := s.Get(byName["top"].ID); err != nil || r.Description != "top" {
		t.Error(r, err)
	}
	if _, err := s.Get("none"); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

func TestPruneTakesTheLongestUnusedFirst(t *testing.T) {
	s := fresh(t, Config{Measure: func(string) (int64, error) { return 100, nil }})
	l := s.Lease()
	for i := range 10 {
		step(l, fmt.Sprint("r", i))
	}
	l.Release()
	s.mu.Lock()
	for _, r := range s.records {
		var n int
		fmt.Sscanf(r.Description, "r%d", &n)
		r.LastUsed = time.Now().Add(-time.Duration(10-n) * time.Hour)
	}
	s.mu.Unlock()
	gone, _ := prune(t, s, Wish{Down: 750})
	names := func(list []Usage) (out []string) {
		for _, u := range list {
			out = append(out, u.Description)
		}
		return out
	}
	if !slices.Equal(names(gone), []string{"r0", "r1", "r2"}) {
		t.Errorf("down to 750: %v", names(gone))
	}
	if gone, _ = prune(t, s, Wish{Down: -1, Unused: 5*time.Hour + time.Minute}); !slices.Equal(names(gone), []string{"r3", "r4"}) {
		t.Errorf("unused for five hours: %v", names(gone))
	}
	if gone, _ = prune(t, s, Wish{Down: -1, Match: func(u Usage) bool { return u.Description == "r9" }}); !slices.Equal(names(gone), []string{"r9"}) {
		t.Errorf("r9: %v", names(gone))
	}
	if gone, _ = prune(t, s, Wish{}); len(gone) != 4 {
		t.Errorf("the rest: %v", names(gone))
	}
}

// TestMountsAreListedAndPruned: the folders of cache mounts stand among the records, and go with them.
func TestMountsAreListedAndPruned(t *testing.T) {
	dir := t.TempDir()
	db, err := state.Open(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	mounts, err := OpenMounts(filepath.Join(dir, "mounts"), db)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(db, Config{Mounts: mounts})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	used, err := mounts.Take(t.Context(), MountRequest{Key: "used", Description: "used"})
	if err != nil {
		t.Fatal(err)
	}
	defer used.Release()
	free, err := mounts.Take(t.Context(), MountRequest{Key: "free", Description: "free"})
	if err != nil {
		t.Fatal(err)
	}
	free.Release()
	l := s.Lease()
	step(l, "step")
	l.Release()
	if list := listed(t, s); len(list) != 3 {
		t.Errorf("listed %v", list)
	}
	gone, layers := prune(t, s, Wish{Down: -1})
	if len(gone) != 2 || len(layers) != 1 {
		t.Errorf("pruned %v, layers %v", gone, layers)
	}
	if list := listed(t, s); len(list) != 1 || !list[0].InUse || !list[0].Mutable || list[0].Kind != ExecMount {
		t.Errorf("left %+v", list)
	}
}

// TestMany lets builds come and go while somebody prunes: what a lease has found is there until it is released.
func TestMany(t *testing.T) {
	s := fresh(t, Config{})
	var deleted sync.Map
	scrap := func(names []string) {
		for _, n := range names {
			if _, twice := deleted.LoadOrStore(n, true); twice {
				t.Errorf("%s deleted twice", n)
			}
		}
	}
	stop := make(chan struct{})
	var pruner, builders sync.WaitGroup
	pruner.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_, names := prune(t, s, Wish{Down: -1})
				scrap(names)
			}
		}
	})
	for b := range 8 {
		builders.Go(func() {
			for i := range 100 {
				l := s.Lease()
				var pile []string
				for depth := range 5 {
					name := fmt.Sprint("step ", depth, (b+i)%3)
					if r, ok := l.Lookup(key(name)); ok && len(r.Piles[0]) == depth+1 && slices.Equal(r.Piles[0][:depth], pile) {
						pile = r.Piles[0]
					} else {
						pile = step(l, name, pile...)
					}
					l.Name() // half built, never saved
				}
				for _, name := range pile {
					if _, gone := deleted.Load(name); gone || !s.Holds(name) {
						t.Errorf("%s was deleted under a lease", name)
					}
				}
				scrap(l.Release())
			}
		})
	}
	builders.Wait()
	close(stop)
	pruner.Wait()
	_, names := prune(t, s, Wish{Down: -1})
	scrap(names)
	if left := listed(t, s); len(left) != 0 || len(s.named)+len(s.held)+len(s.made) != 0 {
		t.Errorf("left %v, named %v, held %v, made %v", left, s.named, s.held, s.made)
	}
}
