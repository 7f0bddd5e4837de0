package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

func TestStack(t *testing.T) {
	tests := []struct {
		name   string
		layers [][]string
		want   string
		files  map[string]string
	}{
		{"opaque", [][]string{{"d a", "d a/old", "f a/old/x 1"}, {"d a", "d a/new", "f a/new/y 2", "f a/.wh..wh..opq"}}, "a/ a/new/ a/new/y", nil},
		{"opaque root", [][]string{{"d a", "f b 1"}, {"f .wh..wh..opq", "f c 1"}}, "c", nil},
		{"whiteout", [][]string{{"d d", "f d/x low", "f d/k 1"}, {"d d", "f d/x new", "f d/.wh.x", "f d/.wh.k"}}, "d/ d/x", map[string]string{"d/x": "new"}},
		{"type changes", [][]string{
			{"d p", "f p/q 1", "f r 1", "d s", "f s/t 1", "d y", "s lnk y"},
			{"f p F", "d r", "f r/z 1", "s s p", "d lnk", "f lnk/w 1"}, {"d p"}},
			"lnk/ lnk/w p/ r/ r/z s y/", nil},
		{"replaced twice in a layer", [][]string{{"d p", "f p/q 1"}, {"f p x", "d p", "f p/new 1"}}, "p/ p/new", nil},
		{"hard link to a lower file", [][]string{{"d a", "f a/x low", "s l a"}, {"h b l/x", "f c 1"}}, "a/ a/x b c l", map[string]string{"b": "low"}},
		{"parent that is a link below", [][]string{{"d usr", "d usr/lib", "f usr/lib/a 1", "s lib usr/lib"}, {"f lib/b 2"}, {"f lib/c/d 3", "f lib/.wh.a"}},
			"lib usr/ usr/lib/ usr/lib/b usr/lib/c/ usr/lib/c/d", map[string]string{"lib/b": "2", "lib/c/d": "3"}},
		{"a link below that the layer replaces", [][]string{{"d y", "s lnk y"}, {"d lnk", "f lnk/sub/w 1"}}, "lnk/ lnk/sub/ lnk/sub/w y/", nil},
		{"no layer", nil, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t)
			var ids []digest.Digest
			for _, items := range tt.layers {
				ids = append(ids, h.layer(items...))
			}
			root := h.mount("c", ids...)
			if got := find(t, root); got != strings.ReplaceAll(tt.want, "  ", " ") {
				t.Errorf("tree is %q, want %q", got, tt.want)
			}
			for path, want := range tt.files {
				if got := read(t, root, path); got != want {
					t.Errorf("%s is %q, want %q", path, got, want)
				}
			}
			h.reopen()
			if _, _, _, err := h.Overlay("c"); err != nil {
				t.Errorf("after opening again: %v", err)
			}
		})
	}
}

func TestImpliedParents(t *testing.T) {
	h := newHouse(t)
	base := h.layer("d ./ mode=0750 uid=9", "d t mode=1777 uid=5 mtime=1000000000", "d u mtime=1000000000", "f u/a 1", "d v mode=700", "d v/w uid=3")
	top := h.layer("f t/n/x 1", "d v mode=711", "f v/w/y 1")
	root := h.mount("c", base, top)
	for path, want := range map[string]string{"t": "1777 5", "t/n": "755 0", "v": "711 0", "v/w": "755 3", ".": "750 9"} {
		if got := stat(t, root, path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	for _, path := range []string{"t", "u"} {
		if fi, err := os.Stat(filepath.Join(root, path)); err != nil || fi.ModTime().Unix() != 1000000000 {
			t.Errorf("%s is of %v: %v", path, fi.ModTime(), err)
		}
	}
	if got, want := find(t, root), "t/ t/n/ t/n/x u/ u/a v/ v/w/ v/w/y"; got != want {
		t.Errorf("tree is %q, want %q", got, want)
	}
	other := h.mount("d", h.layer("d t mode=700 uid=8"), top)
	if got := stat(t, other, "t"); got != "700 8" {
		t.Errorf("on another base t is %s", got)
	}
}

func TestHardLinkToNothing(t *testing.T) {
	h := newHouse(t)
	ids := []digest.Digest{h.layer("h a gone")}
	if err := h.Prepare(context.Background(), ids, h.again); !errdefs.IsInvalidArgument(err) {
		t.Errorf("alone: %v", err)
	}
	ids = append([]digest.Digest{h.layer("f other 1")}, ids...)
	if _, err := h.Stack(context.Background(), ids); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("unprepared: %v", err)
	}
	if err := h.Prepare(context.Background(), ids, h.again); !errdefs.IsInvalidArgument(err) {
		t.Errorf("on another: %v", err)
	}
	if got := find(t, h.path("fixes")) + find(t, h.path("making")); got != "" {
		t.Errorf("left behind %s", got)
	}
}

func TestSameLayerTwice(t *testing.T) {
	h := newHouse(t)
	base, q, gone := h.layer("d bin"), h.layer("f q 1", "d d", "f d/x 1"), h.layer("f .wh.q", "f d/.wh.x", "f d/y 2")
	root := h.mount("c", base, q, gone, q)
	if got, want := find(t, root), "bin/ d/ d/x d/y q"; got != want {
		t.Errorf("tree is %q, want %q", got, want)
	}
	if got, want := find(t, h.mount("d", base, q, gone)), "bin/ d/ d/y"; got != want {
		t.Errorf("tree is %q, want %q", got, want)
	}
}

func TestManyLayers(t *testing.T) {
	h := newHouse(t)
	var ids []digest.Digest
	for i := range 150 {
		ids = append(ids, h.layer(fmt.Sprintf("f file%d %d", i, i), fmt.Sprintf("f shared %d", i)))
	}
	root := h.mount("c", ids...)
	if got := read(t, root, "shared") + read(t, root, "file0"); got != "1490" {
		t.Errorf("read %s", got)
	}
}

func TestApplyVerifies(t *testing.T) {
	h := newHouse(t)
	raw := craft(t, "f a 1")
	wrong := digest.FromString("other")
	_, err := h.Apply(context.Background(), wrong, bytes.NewReader(raw))
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(fmt.Sprint(err), wrong.String()) || !strings.Contains(fmt.Sprint(err), digest.FromBytes(raw).String()) {
		t.Errorf("wrong diff ID: %v", err)
	}
	if _, err := h.Apply(context.Background(), digest.FromBytes(raw[:700]), bytes.NewReader(raw[:700])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("truncated: %v", err)
	}
	if _, err := h.Apply(context.Background(), "sha256:no", bytes.NewReader(raw)); !errdefs.IsInvalidArgument(err) {
		t.Errorf("no digest: %v", err)
	}
	if got := find(t, h.path("trees")) + find(t, h.path("making")); got != "" || h.Has(wrong) {
		t.Errorf("left behind %s", got)
	}
	h.layer("f b 2")
	if id := h.add(append(craft(t, "f a 1"), make([]byte, 1<<20)...)); !h.Has(id) || h.Size(id) != 4096 {
		t.Errorf("a tar with a tail: size %d", h.Size(id))
	}
	h.Limit(Limits{Bytes: 3})
	big := craft(t, "f a 1234")
	if _, err := h.Apply(context.Background(), digest.FromBytes(big), bytes.NewReader(big)); !errdefs.IsInvalidArgument(err) {
		t.Errorf("too big: %v", err)
	}
}

// slowReader lets others come in the meantime.
type slowReader struct {
	r     io.Reader
	reads *atomic.Int32
	fail  bool
}

func (s *slowReader) Read(p []byte) (int, error) {
	if s.reads.Add(1) == 1 {
		time.Sleep(100 * time.Millisecond)
		if s.fail {
			return 0, errors.New("connection lost")
		}
	}
	return s.r.Read(p)
}

func TestApplyTogether(t *testing.T) {
	h := newHouse(t)
	raw := craft(t, "f a 1")
	id := digest.FromBytes(raw)
	var reads [5]atomic.Int32
	var failures, read atomic.Int32
	var group sync.WaitGroup
	for i := range reads {
		group.Go(func() {
			_, err := h.Apply(context.Background(), id, &slowReader{bytes.NewReader(raw), &reads[i], i == 0})
			if err != nil {
				failures.Add(1)
			}
		})
	}
	group.Wait()
	for i := range reads {
		if reads[i].Load() > 0 {
			read.Add(1)
		}
	}
	if !h.Has(id) || failures.Load() > 1 || read.Load() > 2 {
		t.Errorf("%d failed, %d read their tar", failures.Load(), read.Load())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	other := craft(t, "f b 1")
	if _, err := h.Apply(ctx, digest.FromBytes(other), bytes.NewReader(other)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestOpenRepairs(t *testing.T) {
	h := newHouse(t)
	a, b := h.layer("f a 1"), h.layer("f b 1")
	c, d := h.layer("d t mode=700"), h.layer("f t/x 1")
	ctx := context.Background()
	if err := h.Prepare(ctx, []digest.Digest{c, d}, h.again); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"one", "two"} {
		if err := h.Create(ctx, id, []digest.Digest{a}); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"making/1/x", "gone/2/y", "trees/" + strings.Repeat("0", 64), "fixes/" + strings.Repeat("1", 64), "writable/stray/upper"} {
		if err := os.MkdirAll(h.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{h.tree(b, layerRecord{}), h.path("writable/two"), h.tree(c, layerRecord{})} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	h.reopen()
	if h.Has(b) || h.Has(c) || !h.Has(a) || !h.Has(d) {
		t.Error("records and trees differ")
	}
	if got, want := find(t, h.path("writable")), "one/ one/upper/ one/work/ two/ two/upper/ two/work/"; got != want {
		t.Errorf("writable layers %s, want %s", got, want)
	}
	if got := find(t, h.path("fixes")) + find(t, h.path("making")) + find(t, h.path("gone")); got != "" {
		t.Errorf("left behind %s", got)
	}
	if entries, _ := os.ReadDir(h.path("trees")); len(entries) != 2 {
		t.Errorf("%d trees, want 2", len(entries))
	}
}

func TestSweep(t *testing.T) {
	h := newHouse(t)
	a, b, c := h.layer("f a 1"), h.layer("d b mode=700"), h.layer("f b/x 12345")
	ctx := context.Background()
	if err := h.Prepare(ctx, []digest.Digest{b, c}, h.again); err != nil {
		t.Fatal(err)
	}
	if err := h.Create(ctx, "w", []digest.Digest{a}); err != nil {
		t.Fatal(err)
	}
	removed, freed, err := h.Sweep(func(id digest.Digest) bool { return id == b })
	if removed != 1 || freed != 8192 || err != nil {
		t.Errorf("removed %d, freed %d: %v", removed, freed, err)
	}
	if !h.Has(a) || !h.Has(b) || h.Has(c) || find(t, h.path("fixes")) != "" {
		t.Error("the wrong ones went")
	}
	if err := h.Delete(ctx, "w"); err != nil {
		t.Fatal(err)
	}
	if removed, _, err := h.Sweep(func(digest.Digest) bool { return false }); removed != 2 || err != nil {
		t.Errorf("removed %d: %v", removed, err)
	}
	h.reopen()
	if entries, _ := os.ReadDir(h.path("trees")); len(entries) != 0 {
		t.Errorf("%d trees left", len(entries))
	}
}

// TestSweepSparesWhatIsProtectedMeanwhile protects a layer after the sweep has asked for it the first time, as a build does
// that finds it here.
func TestSweepSparesWhatIsProtectedMeanwhile(t *testing.T) {
	h := newHouse(t)
	a, b := h.layer("f a 1"), h.layer("f b 1")
	asked := map[digest.Digest]int{}
	removed, _, err := h.Sweep(func(id digest.Digest) bool {
		asked[id]++
		return id == a && asked[id] > 1
	})
	if removed != 1 || err != nil || !h.Has(a) || h.Has(b) {
		t.Errorf("removed %d: %v, asked %v", removed, err, asked)
	}
}

// TestSweepDuringApply deletes and makes the same layers at once: in the end records and trees are in step.
func TestSweepDuringApply(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	low, high := craft(t, "d t mode=700"), craft(t, "f t/x 1")
	ids := []digest.Digest{digest.FromBytes(low), digest.FromBytes(high)}
	h.tars[ids[0]], h.tars[ids[1]] = low, high
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for range 20 {
				for i, raw := range [][]byte{low, high} {
					if _, err := h.Apply(ctx, ids[i], bytes.NewReader(raw)); err != nil {
						t.Error(err)
					}
				}
				if err := h.Prepare(ctx, ids, h.again); err != nil && !errdefs.IsNotFound(err) && !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
			}
		})
		group.Go(func() {
			for range 40 {
				if _, _, err := h.Sweep(func(digest.Digest) bool { return false }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	known := 0
	for _, id := range ids {
		if h.Has(id) {
			known++
		}
	}
	entries, _ := os.ReadDir(h.path("trees"))
	records, err := h.layers.All()
	if err != nil || len(entries) != known || len(records) != known {
		t.Errorf("%d layers, %d records, %d trees: %v", known, len(records), len(entries), err)
	}
}
