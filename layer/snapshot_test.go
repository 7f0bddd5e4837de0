package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/sys"
)

// portrait is everything that a tree's files are, one line each.
func portrait(t testing.TB, root string, nanoseconds bool) string {
	t.Helper()
	var out strings.Builder
	names := map[uint64]string{}
	err := filepath.WalkDir(root+"/", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		name := strings.TrimPrefix(path, root)
		when := fmt.Sprint(st.Mtim.Sec)
		if nanoseconds {
			when += fmt.Sprintf(".%09d", st.Mtim.Nsec)
		}
		if name == "/" && !nanoseconds {
			when = "" // a layer does not tell
		}
		fmt.Fprintf(&out, "%s %o %d:%d %s", name, st.Mode, st.Uid, st.Gid, when)
		switch info.Mode().Type() {
		case 0:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, " %d %x", len(content), sha256.Sum256(content))
			if st.Nlink > 1 {
				if first, ok := names[st.Ino]; ok {
					fmt.Fprintf(&out, " is %s", first)
				} else {
					names[st.Ino] = name
				}
			}
		case fs.ModeSymlink:
			target, _ := os.Readlink(path)
			fmt.Fprintf(&out, " -> %s", target)
		case fs.ModeDevice | fs.ModeCharDevice:
			fmt.Fprintf(&out, " device %d", st.Rdev)
		}
		if info.Mode().Type() != fs.ModeSymlink {
			value := make([]byte, 100)
			if n, err := syscall.Getxattr(path, "user.mark", value); err == nil {
				fmt.Fprintf(&out, " mark %s", value[:n])
			}
		}
		out.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// within mounts a writable layer for a moment.
func (h *house) within(id string, do func(root string)) {
	h.t.Helper()
	r, err := h.Root(context.Background(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Close()
	do(fmt.Sprintf("/proc/self/fd/%d", r.Dir.Fd()))
}

func (h *house) portrait(id string) (out string) {
	h.within(id, func(root string) { out = portrait(h.t, root, true) })
	return out
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// fill puts one of everything into a tree.
func fill(t testing.TB, root string) {
	in := func(name string) string { return filepath.Join(root, name) }
	old := time.Unix(1000000000, 123456789)
	must(t,
		os.MkdirAll(in("dir/sub"), 0o755), os.WriteFile(in("dir/a"), []byte("a"), 0o640), os.Link(in("dir/a"), in("dir/b")),
		os.Chown(in("dir/a"), 7, 8), os.Chmod(in("dir/a"), 0o4755|os.ModeSetuid), syscall.Setxattr(in("dir/a"), "user.mark", []byte("x"), 0),
		os.Symlink("../nowhere", in("dir/l")), syscall.Mknod(in("dir/null"), syscall.S_IFCHR|0o666, 1<<8|3), syscall.Mkfifo(in("dir/p"), 0o600),
		os.Remove(in("below/gone")), os.RemoveAll(in("hidden")), os.Mkdir(in("hidden"), 0o700), os.WriteFile(in("hidden/new"), nil, 0o600),
		os.Chtimes(in("dir/a"), old, old), os.Chtimes(in("dir"), old, old), os.Chmod(root, 0o711), os.Chtimes(root, old, old),
	)
}

func (h *house) trees() int {
	entries, err := os.ReadDir(h.path("writable"))
	must(h.t, err)
	return len(entries)
}

func (h *house) box(id string) []digest.Digest {
	h.t.Helper()
	ids := []digest.Digest{h.layer("d below", "f below/gone 1", "f below/kept 2", "d hidden", "f hidden/old 3"), h.layer("f top 4")}
	must(h.t, h.Prepare(context.Background(), ids, h.again), h.Create(context.Background(), id, ids))
	return ids
}

func TestRollback(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	h.box("c")
	h.within("c", func(root string) { fill(t, root) })
	before := h.portrait("c")
	first, err := h.Freeze(ctx, "c", Snapshot{Name: "one", Comment: "first"})
	must(t, err)
	if got := h.portrait("c"); got != before {
		t.Errorf("freezing changed the tree:\n%s\nwas\n%s", got, before)
	}
	if _, err := h.Freeze(ctx, "c", Snapshot{Name: "one"}); !errdefs.IsConflict(err) {
		t.Errorf("a second snapshot of the name: %v", err)
	}
	same, err := h.Freeze(ctx, "c", Snapshot{Name: "same"})
	if err != nil || len(same.Trees) != 1 {
		t.Errorf("a snapshot of what has not changed: %v, %v", same.Trees, err)
	}
	h.within("c", func(root string) {
		must(t, os.WriteFile(root+"/dir/a", []byte("changed"), 0o600), os.RemoveAll(root+"/below"), os.Remove(root+"/dir/l"), os.Chmod(root, 0o700))
	})
	second, err := h.Freeze(ctx, "c", Snapshot{})
	must(t, err)
	between := h.portrait("c")
	h.within("c", func(root string) { must(t, os.RemoveAll(root+"/dir"), os.WriteFile(root+"/dir", nil, 0o600)) })
	must(t, h.Rollback(ctx, first))
	if got := h.portrait("c"); got != before {
		t.Errorf("rolled back to the first:\n%s\nwas\n%s", got, before)
	}
	must(t, h.Rollback(ctx, second))
	if got := h.portrait("c"); got != between {
		t.Errorf("rolled back to the second:\n%s\nwas\n%s", got, between)
	}
	h.reopen()
	if got := h.portrait("c"); got != between {
		t.Errorf("after a restart:\n%s\nwas\n%s", got, between)
	}
	if got := h.Snapshots("c"); len(got) != 3 || got[0].Name != "one" || got[0].Comment != "first" || got[2].ID != second.ID {
		t.Errorf("snapshots %+v", got)
	}
	if n := h.trees(); n != 3 { // two frozen, one to write to
		t.Errorf("%d trees", n)
	}
	for i, snap := range h.Snapshots("c") {
		must(t, h.Forget(ctx, snap))
		if n := h.trees(); n != 3 { // the layer still stands on both
			t.Errorf("%d trees without %d of the snapshots", n, i+1)
		}
	}
	must(t, h.Delete(ctx, "c"))
	if n := h.trees(); n != 0 {
		t.Errorf("%d trees are left", n)
	}
}

// TestPhotograph copies a layer that is mounted, as a running container has it.
func TestPhotograph(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	h.box("c")
	var before string
	var snap Snapshot
	copied := 0
	h.within("c", func(root string) {
		fill(t, root)
		before = portrait(t, root, true)
		var err error
		snap, err = h.Photograph(ctx, "c", Snapshot{Name: "run"}, func() {
			copied++
			if half := h.Snapshots("c"); len(half) > 0 { // or somebody would go back to it, or remove it
				t.Errorf("a snapshot that is still being copied is shown: %+v", half)
			}
			if _, err := h.Photograph(ctx, "c", Snapshot{Name: "run"}, func() {}); !errdefs.IsConflict(err) {
				t.Errorf("its name is free: %v", err)
			}
		})
		must(t, err, h.Clone(ctx, "twin", "c", func() { copied++ }), os.RemoveAll(root+"/dir"))
	})
	if copied != 2 || len(h.Snapshots("c")) != 1 {
		t.Errorf("told of %d copies, snapshots %v", copied, h.Snapshots("c"))
	}
	if got := h.portrait("twin"); got != before {
		t.Errorf("the clone is\n%s\nwas\n%s", got, before)
	}
	must(t, h.Rollback(ctx, snap))
	if got := h.portrait("c"); got != before {
		t.Errorf("rolled back:\n%s\nwas\n%s", got, before)
	}
	must(t, h.Rollback(ctx, snap), h.Delete(ctx, "c"))
	if got := h.portrait("twin"); got != before || h.trees() != 1 || len(h.Snapshots("c")) != 0 {
		t.Errorf("the clone after the original is gone, %d trees:\n%s", h.trees(), got)
	}
	must(t, h.Delete(ctx, "twin"))
}

// onWrite calls its function once something is written.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

// TestRollbackUnderReaders: whoever reads the files that a rollback deletes is told so, and does not take what is left of
// them for all there was.
func TestRollbackUnderReaders(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	h.box("c")
	snap, err := h.Freeze(ctx, "c", Snapshot{})
	must(t, err)
	for name, read := range map[string]func(then func()) error{
		"packed": func(then func()) error { return h.Pack(ctx, onWrite(then), "c") },
		"copied": func(then func()) error {
			hold, err := h.Hold("c", false)
			must(t, err)
			defer hold.Release()
			then()
			if ended(hold.Gone) {
				return errdefs.ErrConflict
			}
			return nil
		},
	} {
		h.within("c", func(root string) { fill(t, root) })
		err := read(sync.OnceFunc(func() { must(t, h.Rollback(ctx, snap)) }))
		if !errdefs.IsConflict(err) {
			t.Errorf("%s during a rollback: %v", name, err)
		}
	}
	// What a freeze only moves stays whole.
	h.within("c", func(root string) { fill(t, root) })
	freeze := sync.OnceFunc(func() {
		_, err := h.Freeze(ctx, "c", Snapshot{})
		must(t, err)
	})
	must(t, h.Pack(ctx, onWrite(freeze), "c"))
}

// TestClonesOutliveTheirOrigin lets clones stand on frozen trees whose owner goes.
func TestClonesOutliveTheirOrigin(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	h.box("c")
	h.within("c", func(root string) { fill(t, root) })
	before := h.portrait("c")
	snap, err := h.Freeze(ctx, "c", Snapshot{})
	must(t, err)
	h.within("c", func(root string) { must(t, os.WriteFile(root+"/later", nil, 0o600)) })
	now := h.portrait("c")
	must(t, h.Clone(ctx, "twin", "c", nil), h.Clone(ctx, "twin2", "c", nil), h.CloneSnapshot(ctx, "old", snap))
	if n := h.trees(); n != 2+4 { // cloning twice froze once
		t.Errorf("%d trees", n)
	}
	h.within("twin", func(root string) { must(t, os.WriteFile(root+"/dir/a", []byte("twin"), 0o600)) })
	must(t, h.Delete(ctx, "c"))
	h.reopen()
	for id, want := range map[string]string{"twin2": now, "old": before} {
		if got := h.portrait(id); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", id, got, want)
		}
	}
	var sum int64
	for _, id := range h.Writable() {
		n, err := h.Usage(id)
		must(t, err)
		sum += n
	}
	var all int64
	entries, err := os.ReadDir(h.path("writable"))
	must(t, err)
	for _, e := range entries {
		n, err := h.treeUsage(e.Name())
		must(t, err)
		all += n
	}
	if sum != all {
		t.Errorf("the layers' usage sums up to %d, on disk are %d", sum, all)
	}
	for _, id := range h.Writable() {
		must(t, h.Delete(ctx, id))
	}
	if n := h.trees(); n != 0 {
		t.Errorf("%d trees are left", n)
	}
}

// TestSnapshotsCutShort finds what a process may leave that is killed between any two steps.
func TestSnapshotsCutShort(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	h.box("c")
	h.within("c", func(root string) { fill(t, root) })
	before := h.portrait("c")
	check := func(what, want string, trees int) {
		t.Helper()
		h.reopen()
		if got := h.portrait("c"); got != want || h.trees() != trees {
			t.Errorf("%s: %d trees\n%s\nwant %d\n%s", what, h.trees(), got, trees, want)
		}
	}
	// The fresh tree is made, the record not written.
	record, err := h.writable("c")
	must(t, err, h.makeWritable("c", writableRecord{DiffIDs: record.DiffIDs, Below: []string{"c"}, Tree: newTree()}))
	check("killed before the record", before, 1)
	// A copy half made.
	must(t, os.MkdirAll(h.upper(newTree())+"/half", 0o700))
	check("killed while copying", before, 1)
	snap, err := h.Freeze(ctx, "c", Snapshot{})
	must(t, err)
	h.within("c", func(root string) { must(t, os.WriteFile(root+"/later", nil, 0o600)) })
	// Rolled back, the old tree not deleted yet; and the fresh one not yet on disk when the power went.
	record, err = h.writable("c")
	must(t, err)
	fresh := newTree()
	must(t, h.owners.Put("c", writableRecord{DiffIDs: record.DiffIDs, Below: snap.Trees, Tree: fresh}))
	check("killed before the old tree was deleted", before, 2)
	if _, err := os.Stat(h.upper(fresh)); err != nil {
		t.Errorf("the fresh tree: %v", err)
	}
	// A layer deleted, its snapshot's record still there.
	must(t, h.owners.Delete("c"))
	h.reopen()
	if h.trees() != 0 || len(h.Snapshots("c")) != 0 {
		t.Errorf("%d trees, snapshots %v are left of a layer that is gone", h.trees(), h.Snapshots("c"))
	}
	if all, err := h.shots.All(); err != nil || len(all) != 0 {
		t.Errorf("records left: %v %v", all, err)
	}
}

// TestFailedTurn leaves everything as it was when the record cannot be written.
func TestFailedTurn(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	h.box("c")
	h.within("c", func(root string) { fill(t, root) })
	before := h.portrait("c")
	h.db.Close()
	if _, err := h.Freeze(ctx, "c", Snapshot{Name: "x"}); err == nil {
		t.Error("frozen without a record")
	}
	if got := h.portrait("c"); got != before || h.trees() != 1 || len(h.Snapshots("c")) != 0 {
		t.Errorf("%d trees, snapshots %v\n%s", h.trees(), h.Snapshots("c"), got)
	}
	if _, err := h.Photograph(ctx, "c", Snapshot{}, func() {}); err == nil || h.trees() != 1 {
		t.Errorf("copied without a record: %v, %d trees", err, h.trees())
	}
	h.reopen()
}

// TestPackedIsWhatWasSeen changes trees at random, freezing now and then: the layer packed from them, laid on the same
// image, must show what the container saw, and both ways of listing changes must agree.
func TestPackedIsWhatWasSeen(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	ids := h.box("c0")
	for seed := range int64(25) {
		id := fmt.Sprintf("c%d", seed)
		if seed > 0 {
			must(t, h.Create(ctx, id, ids))
		}
		random := rand.New(rand.NewSource(seed))
		start, err := h.Freeze(ctx, id, Snapshot{})
		must(t, err)
		for range 5 {
			h.within(id, func(root string) { stir(random, root) })
			if random.Intn(3) > 0 {
				_, err := h.Freeze(ctx, id, Snapshot{})
				must(t, err)
			}
		}
		var want string
		h.within(id, func(root string) { want = portrait(t, root, false) })
		var tar, again bytes.Buffer
		must(t, h.Pack(ctx, &tar, id), h.Pack(ctx, &again, id))
		if !bytes.Equal(tar.Bytes(), again.Bytes()) {
			t.Errorf("seed %d: packed twice, two results", seed)
		}
		packed := append(slices.Clone(ids), h.add(tar.Bytes()))
		must(t, h.Prepare(ctx, packed, h.again), h.Create(ctx, id+"packed", packed))
		var got string
		h.within(id+"packed", func(root string) { got = portrait(t, root, false) })
		if got != want {
			t.Errorf("seed %d: the image has\n%s\nthe container had\n%s", seed, got, want)
		}
		one, err := h.Changes(ctx, id)
		must(t, err)
		other, err := h.ChangesSince(ctx, start, nil)
		must(t, err)
		if fmt.Sprint(one) != fmt.Sprint(other) {
			t.Errorf("seed %d: changes %v, compared as a whole %v", seed, one, other)
		}
	}
}

// stir does a few things to a tree, of which some fail.
func stir(random *rand.Rand, root string) {
	name := func() string {
		parts := []string{root}
		for range 1 + random.Intn(3) {
			parts = append(parts, []string{"below", "hidden", "kept", "gone", "old", "top", "x", "y"}[random.Intn(8)])
		}
		return filepath.Join(parts...)
	}
	for range 12 {
		path := name()
		switch random.Intn(8) {
		case 0, 1:
			os.WriteFile(path, []byte(fmt.Sprint(random.Int())), 0o600)
		case 2:
			os.RemoveAll(path)
		case 3, 4:
			os.MkdirAll(path, 0o755)
		case 5:
			os.Rename(path, name())
		case 6:
			os.Chmod(path, fs.FileMode(0o700+random.Intn(0o77)))
		case 7:
			os.Link(path, name())
		}
	}
}

// TestFreezeIsQuick freezes many files as fast as few. The bar is generous; what it keeps out is copying.
func TestFreezeIsQuick(t *testing.T) {
	h := newHouse(t)
	h.box("c")
	h.within("c", func(root string) {
		for i := range 3000 {
			must(t, os.WriteFile(fmt.Sprintf("%s/file%d", root, i), make([]byte, 20000), 0o600))
		}
	})
	start := time.Now()
	snap, err := h.Freeze(context.Background(), "c", Snapshot{})
	took := time.Since(start)
	must(t, err)
	if took > 500*time.Millisecond {
		t.Errorf("freezing took %v", took)
	}
	if _, err := os.Stat(h.upper(snap.Trees[0]) + "/file2999"); err != nil || snap.Trees[0] != "c" {
		t.Errorf("the tree was not kept where it is: %v %v", snap.Trees, err)
	}
}

func TestTooManySnapshots(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	h.box("c")
	for i := range mostFrozen + 1 {
		upper, err := os.Open(h.upper(h.known.writable["c"].tree("c")))
		must(t, err)
		must(t, sys.MkdirAt(sys.Borrow(upper), fmt.Sprint(i), 0o700), upper.Close())
		_, err = h.Freeze(ctx, "c", Snapshot{})
		if i < mostFrozen {
			must(t, err)
		} else if !errdefs.IsFailedPrecondition(err) {
			t.Errorf("more than the kernel can stack: %v", err)
		}
	}
	h.within("c", func(root string) {
		if entries, err := os.ReadDir(root); err != nil || len(entries) < mostFrozen {
			t.Errorf("%d entries, %v", len(entries), err)
		}
	})
}
