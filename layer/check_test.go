package layer

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// faults lists what a check finds, in order, and applies the remedies.
func (h *house) faults() string {
	h.t.Helper()
	found, err := h.Check(context.Background(), false)
	if err != nil {
		h.t.Fatal(err)
	}
	var all []string
	for _, f := range found.Faults {
		if f.Persists() {
			all = append(all, strings.TrimPrefix(f.Name, h.root+"/")+": "+f.Problem)
			if f.Mend != nil {
				if err := f.Mend(context.Background()); err != nil {
					h.t.Errorf("%s: %v", f.Name, err)
				}
			}
		}
	}
	return strings.Join(all, "\n")
}

// TestCheck: while the store is open what is amiss is found and mended as it would be by opening it anew, and what is being
// made is left alone.
func TestCheck(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	a, b := h.layer("f a 1"), h.layer("f b 1")
	c, d := h.layer("d t mode=700"), h.layer("f t/x 1")
	if err := h.Prepare(ctx, []digest.Digest{c, d}, h.again); err != nil {
		t.Fatal(err)
	}
	if err := h.Create(ctx, "one", []digest.Digest{a}); err != nil {
		t.Fatal(err)
	}
	snap, err := h.Freeze(ctx, "one", Snapshot{Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.faults(); got != "" {
		t.Fatalf("at first:\n%s", got)
	}
	zeros, ones := strings.Repeat("0", 64), strings.Repeat("1", 64)
	for _, dir := range []string{"making/1/x", "making/mine", "gone/2/y", "trees/" + zeros, "fixes/" + ones, "writable/stray/upper"} {
		if err := os.MkdirAll(h.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	defer h.begin(h.path("making/mine"))()
	fixes, _ := os.ReadDir(h.path("fixes"))
	own := h.known.writable["one"].tree("one")
	for _, path := range []string{h.tree(b, layerRecord{}), h.path("writable", own, "work"), h.fix(digest.NewDigestFromEncoded(digest.SHA256, fixes[1].Name()))} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		b.String() + ": its tree is missing", "trees/" + zeros + ": no record tells of it",
		"sha256:" + fixes[1].Name() + ": what fits it on the layers below is missing", "fixes/" + ones + ": no record tells of it",
		"one: the folders of this writable layer are missing", "writable/stray: no record tells of it",
		"making/1: it was left half done", "gone/2: it was left half done",
	}
	if got := h.faults(); got != strings.Join(want, "\n") {
		t.Errorf("found\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if got := h.faults(); got != "" {
		t.Errorf("after the repair:\n%s", got)
	}
	if err := h.Prepare(ctx, []digest.Digest{c, d}, h.again); err != nil {
		t.Errorf("the fix is not made again: %v", err)
	}
	h.add(h.tars[b])
	if _, _, _, err := h.Overlay("one"); err != nil {
		t.Error(err)
	}
	// What a snapshot consists of cannot be made again.
	if err := os.RemoveAll(h.path("writable", snap.Trees[0])); err != nil {
		t.Fatal(err)
	}
	if got := h.faults(); got != "writable/"+snap.Trees[0]+"/upper: this part of a snapshot is missing" {
		t.Errorf("a snapshot: %s", got)
	}
	os.Remove(h.path("making/mine"))
}

// TestVerify changes a tree in each way a file can change, and has it made again.
func TestVerify(t *testing.T) {
	h := newHouse(t)
	raw := craft(t, "d d mode=750", "f d/f text", "f e/implied 1", "h d/h d/f", "s l target", "f s 1 mode=4755 uid=7", "f .wh.gone ", "d o", "f o/.wh..wh..opq ")
	id := h.add(raw)
	verify := func(exchange bool) string {
		t.Helper()
		var unused func() error
		if exchange {
			unused = func() error { return nil }
		}
		differs, err := h.Verify(context.Background(), id, bytes.NewReader(raw), unused)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(differs, ", ")
	}
	if got := verify(false); got != "" {
		t.Fatalf("a fresh tree differs: %s", got)
	}
	at := func(path string) string { return filepath.Join(h.tree(id, layerRecord{}), path) }
	for want, damage := range map[string]func() error{
		"/d/f: size, /d/f: content, /d/h: size, /d/h: content": func() error { return os.WriteFile(at("d/f"), []byte("other"), 0o644) },
		"/d: mode":            func() error { return os.Chmod(at("d"), 0o700) },
		"/s: owner":           func() error { return os.Chown(at("s"), 8, 0) },
		"/: time, /l: target": func() error { return os.Symlink("tarxet", at("x")) },
		"/d: time, /d/f: hard links, /d/h: missing": func() error { return os.Remove(at("d/h")) },
		"/gone: missing": func() error { return os.Remove(at("gone")) },
		"/o: time, /o/planted: does not belong there": func() error { return os.WriteFile(at("o/planted"), nil, 0o644) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if want == "/: time, /l: target" { // in place of the other link, with its time
			if err := os.Rename(at("x"), at("l")); err != nil {
				t.Fatal(err)
			}
			want = "/l: time"
		}
		got := verify(true)
		for _, place := range strings.Split(want, ", ") {
			if !strings.Contains(got, place) {
				t.Errorf("found %q, want %q", got, want)
			}
		}
		if got := verify(false); got != "" {
			t.Errorf("%s: the tree made again differs: %s", want, got)
		}
	}
	if _, err := h.Verify(context.Background(), id, bytes.NewReader(craft(t, "f other 1")), nil); err == nil {
		t.Error("another tar is taken for the layer's")
	}
	if got := find(t, h.path("making")); got != "" {
		t.Errorf("left behind: %s", got)
	}
}

// TestFreed: what a deletion is said to free is what the disk gets back, though layers and snapshots stand on one another.
func TestFreed(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	write := func(id, name string, size int) {
		t.Helper()
		path := filepath.Join(h.upper(h.known.writable[id].tree(id)), name)
		if err := os.WriteFile(path, bytes.Repeat([]byte("x"), size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	disk := func() int64 {
		t.Helper()
		n, err := measure(ctx, h.path("writable"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := h.Create(ctx, "one", []digest.Digest{h.layer("f a 1")}); err != nil {
		t.Fatal(err)
	}
	write("one", "shared", 500_000)
	if err := h.Clone(ctx, "two", "one", nil); err != nil {
		t.Fatal(err)
	}
	write("one", "own", 200_000)
	if _, err := h.Freeze(ctx, "one", Snapshot{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	write("two", "own", 100_000)
	for _, c := range []struct {
		id    string
		least int64
		most  int64
	}{{"one", 200_000, 300_000}, {"two", 600_000, 700_000}} {
		weight := int64(0)
		for _, id := range h.Writable() {
			n, err := h.Weight(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			weight += n
		}
		before := disk()
		if weight != before-folderSpace {
			t.Errorf("before %s goes: the layers weigh %d, on disk are %d", c.id, weight, before-folderSpace)
		}
		freed, err := h.Freed(ctx, c.id)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Delete(ctx, c.id); err != nil {
			t.Fatal(err)
		}
		if got := before - disk(); got != freed || freed < c.least || freed > c.most {
			t.Errorf("%s: said to free %d, freed %d, want %d to %d", c.id, freed, got, c.least, c.most)
		}
	}
}
