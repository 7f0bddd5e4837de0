package layer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// step builds a layer: items are "f PATH TEXT", "d PATH", "rm PATH", "mv PATH PATH".
func (h *house) step(name string, below Pile, items ...string) Pile {
	h.t.Helper()
	ctx := context.Background()
	if err := h.Build(ctx, name, below); err != nil {
		h.t.Fatal(err)
	}
	r, err := h.Root(ctx, name)
	if err != nil {
		h.t.Fatal(err)
	}
	at := fmt.Sprintf("/proc/self/fd/%d/", r.Dir.Fd())
	for _, item := range items {
		words := strings.Fields(item)
		switch words[0] {
		case "f":
			err = os.WriteFile(at+words[1], []byte(words[2]), 0o644)
		case "d":
			err = os.Mkdir(at+words[1], 0o755)
		case "rm":
			err = os.RemoveAll(at + words[1])
		case "mv":
			err = os.Rename(at+words[1], at+words[2])
		}
		if err != nil {
			h.t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		h.t.Fatal(err)
	}
	empty, err := h.Seal(ctx, name)
	if err != nil || empty != (len(items) == 0) {
		h.t.Fatal(empty, err)
	}
	return append(append(Pile{}, below...), name)
}

// show lists the files of a pile with what is in them.
func (h *house) show(p Pile) string {
	h.t.Helper()
	r, err := h.OpenPile(context.Background(), p)
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Close()
	at := fmt.Sprintf("/proc/self/fd/%d", r.Dir.Fd())
	var all []string
	for name := range strings.FieldsSeq(find(h.t, at)) {
		if strings.HasSuffix(name, "/") {
			all = append(all, name)
		} else {
			all = append(all, name+"="+read(h.t, at, name))
		}
	}
	if os.WriteFile(at+"/new", nil, 0o644) == nil {
		h.t.Error("a pile can be written to")
	}
	return strings.Join(all, " ")
}

func (h *house) packed(p Pile, top int) (digest.Digest, []byte) {
	h.t.Helper()
	var b bytes.Buffer
	if err := h.PackPile(context.Background(), &b, p, top); err != nil {
		h.t.Fatal(err)
	}
	id := digest.FromBytes(b.Bytes())
	h.tars[id] = b.Bytes()
	return id, b.Bytes()
}

func (h *house) sound() {
	h.t.Helper()
	found, err := h.Check(context.Background(), false)
	if err != nil || len(found.Faults) > 0 {
		h.t.Errorf("%+v, %v", found, err)
	}
}

func TestPiles(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	base := Images([]digest.Digest{h.layer("d etc", "f etc/a 1", "f etc/b 2", "d old", "f old/x 1")})
	one := h.step("one", base, "f etc/a 2", "d new", "f new/c 3")
	two := h.step("two", one, "rm old", "rm new/c", "f new/d 4")
	same := h.step("same", two)
	three := h.step("three", same, "f etc/e 5")
	for _, c := range []struct {
		pile Pile
		want string
	}{
		{nil, ""},
		{base, "etc/ etc/a=1 etc/b=2 old/ old/x=1"},
		{one, "etc/ etc/a=2 etc/b=2 new/ new/c=3 old/ old/x=1"},
		{two, "etc/ etc/a=2 etc/b=2 new/ new/d=4"},
		{three, "etc/ etc/a=2 etc/b=2 etc/e=5 new/ new/d=4"},
	} {
		if got := h.show(c.pile); got != c.want {
			t.Errorf("%v shows %q, want %q", c.pile, got, c.want)
		}
	}
	if dirs, _ := h.directories(three); len(dirs) != 4 {
		t.Errorf("a step that changes nothing costs a directory: %v", dirs)
	}
	// Nothing else can be put in their place, and nothing writes to what is finished.
	if err := h.Build(ctx, "one", nil); !errdefs.IsAlreadyExists(err) {
		t.Error(err)
	}
	if _, err := h.Root(ctx, "one"); !errdefs.IsFailedPrecondition(err) {
		t.Error(err)
	}
	if err := h.Build(ctx, "sha256:x", nil); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	if err := h.Build(ctx, "four", Pile{"none"}); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	h.sound()
}

// TestBuiltTwice mounts a layer that is being built again and again.
func TestBuiltTwice(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	base := Images([]digest.Digest{h.layer("f a 1")})
	if err := h.Build(ctx, "one", base); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		r, err := h.Root(ctx, "one")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/f%d", r.Dir.Fd(), n), nil, 0o644); err != nil {
			t.Error(err)
		}
		if _, err := h.Seal(ctx, "one"); !errdefs.IsFailedPrecondition(err) {
			t.Error("sealed while it is mounted", err)
		}
		r.Close()
	}
	if _, err := h.Seal(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	if got := h.show(append(base, "one")); got != "a=1 f0= f1= f2=" {
		t.Error(got)
	}
}

// TestPackPile packs the layers of a pile, and loads what comes out as an image in another house: it shows the same.
func TestPackPile(t *testing.T) {
	h, other := newHouse(t), newHouse(t)
	ctx := context.Background()
	raw := craft(t, "d etc", "f etc/a 1", "d old", "f old/x 1")
	base := Images([]digest.Digest{h.add(raw)})
	one := h.step("one", base, "f etc/b 2", "d new", "f new/c 3", "rm old")
	two := h.step("two", one, "d old", "f old/y 1", "rm new/c", "d fresh", "mv fresh new/er")
	ids := []digest.Digest{other.add(raw)}
	for i := range 2 {
		id, tar := h.packed(two[:2+i], 1)
		if again, _ := h.packed(two[:2+i], 1); again != id {
			t.Error("packed again it is other bytes")
		}
		ids = append(ids, other.add(tar))
	}
	both, tar := h.packed(two, 2)
	other.add(tar)
	for _, chain := range [][]digest.Digest{ids, {ids[0], both}} {
		if err := other.Prepare(ctx, chain, other.again); err != nil {
			t.Fatal(err)
		}
		if got, want := other.show(Images(chain)), h.show(two); got != want {
			t.Errorf("the image shows %q, the pile %q", got, want)
		}
	}
	all, tar := h.packed(two, 3)
	other.add(tar)
	if got, want := other.show(Pile{all.String()}), h.show(two); got != want {
		t.Errorf("all in one it shows %q, the pile %q", got, want)
	}
}

// TestAdopt makes an image of what was built: nothing is unpacked, on other layers it is, and what is removed from either
// side leaves the other whole.
func TestAdopt(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	low := h.layer("d etc", "f etc/a 1", "d old", "f old/x 1")
	pile := h.step("two", h.step("one", Images([]digest.Digest{low}), "f etc/b 2", "rm old"), "d old", "f old/y 1")
	pile = h.step("none", pile)
	ids := []digest.Digest{low}
	for i := 2; i <= len(pile); i++ {
		id, _ := h.packed(pile[:i], 1)
		ids = append(ids, id)
	}
	if err := h.Adopt(ctx, pile, ids); err != nil {
		t.Fatal(err)
	}
	if got := find(t, h.path("trees")); strings.Count(got, "/") != 4+1 && strings.Contains(got, "old/y") {
		t.Errorf("copied: %s", got)
	}
	want := "etc/ etc/a=1 etc/b=2 old/ old/y=1"
	if err := h.Prepare(ctx, ids, nil); err != nil {
		t.Fatal(err)
	}
	if got := h.show(Images(ids)); got != want {
		t.Errorf("the image shows %q", got)
	}
	for _, id := range ids[1:] {
		if differs, err := h.Verify(ctx, id, bytes.NewReader(h.tars[id]), nil); err != nil || len(differs) > 0 {
			t.Errorf("%s: %v, %v", id, differs, err)
		}
	}
	// On another base it is what its archive says.
	foreign := h.layer("d old", "f old/z 1")
	chain := []digest.Digest{foreign, ids[2]}
	if err := h.Prepare(ctx, chain, h.again); err != nil {
		t.Fatal(err)
	}
	if got := h.show(Images(chain)); got != "old/ old/y=1 old/z=1" {
		t.Errorf("elsewhere it shows %q", got)
	}
	h.reopen()
	if err := h.Scrap(ctx, "one", "two", "none"); err != nil {
		t.Fatal(err)
	}
	if got := h.show(Images(ids)); got != want || len(h.Built()) > 0 {
		t.Errorf("without the build the image shows %q; %v", got, h.Built())
	}
	h.sound()
	h.reopen()
	if removed, _, err := h.Sweep(func(digest.Digest) bool { return false }); err != nil || removed != 5 {
		t.Error(removed, err)
	}
	if got := find(t, h.path("built")) + find(t, h.path("trees")); got != "" {
		t.Errorf("left %s", got)
	}
	h.sound()
}

// TestAdoptedRemoved removes an image first: the build goes on.
func TestAdoptedRemoved(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	pile := h.step("one", nil, "d etc", "f etc/a 1")
	id, _ := h.packed(pile, 1)
	if err := h.Adopt(ctx, pile, []digest.Digest{id}); err != nil {
		t.Fatal(err)
	}
	if err := h.Remove(id); err != nil {
		t.Fatal(err)
	}
	if got := h.show(h.step("two", pile, "f etc/b 2")); got != "etc/ etc/a=1 etc/b=2" {
		t.Error(got)
	}
	// A tree that somebody has changed is found out and unpacked from its archive.
	if err := h.Adopt(ctx, pile, []digest.Digest{id}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.builtTree("one"), "etc/a"), []byte("9"), 0o644); err != nil {
		t.Fatal(err)
	}
	differs, err := h.Verify(ctx, id, bytes.NewReader(h.tars[id]), func() error { return nil })
	if err != nil || len(differs) != 1 {
		t.Fatal(differs, err)
	}
	if got := h.show(Pile{id.String()}); got != "etc/ etc/a=1" {
		t.Error(got)
	}
	h.sound()
}

// TestScrap gives layers up in any order: what others stand on stays as long as they do.
func TestScrap(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	low := h.layer("f a 1")
	one := h.step("one", Images([]digest.Digest{low}), "f b 2")
	two := h.step("two", one, "f c 3")
	if err := h.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.Scrap(ctx, "one", "absent"); err != nil {
		t.Fatal(err)
	}
	if removed, _, err := h.Sweep(func(digest.Digest) bool { return false }); err != nil || removed != 0 {
		t.Error("the layer that builds stand on is removed", err)
	}
	h.reopen()
	if got := h.show(two); got != "a=1 b=2 c=3" || fmt.Sprint(h.Built()) != "[two]" {
		t.Error(got, h.Built())
	}
	if err := h.Scrap(ctx, "two"); err != nil {
		t.Fatal(err)
	}
	if got := find(t, h.path("built")); got != "" {
		t.Errorf("left %s", got)
	}
	if all, err := h.builts.All(); err != nil || len(all) > 0 {
		t.Error(all, err)
	}
}

// TestBuiltCrash opens again after the process ended at different moments.
func TestBuiltCrash(t *testing.T) {
	h := newHouse(t)
	ctx := context.Background()
	settled := h.step("settled", nil, "f a 1")
	if err := h.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	h.step("sealed", settled, "f b 2")
	if err := h.Build(ctx, "open", settled); err != nil {
		t.Fatal(err)
	}
	h.reopen()
	if got := find(t, h.path("built")); got != "settled/ settled/upper/ settled/upper/a" {
		t.Errorf("left %s", got)
	}
	// A tree that is gone takes those who stand on it along.
	h.step("upon", settled, "f c 3")
	if err := h.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(h.path("built/settled")); err != nil {
		t.Fatal(err)
	}
	found, err := h.Check(ctx, false)
	if err != nil || len(found.Faults) != 1 {
		t.Errorf("%+v, %v", found, err)
	}
	h.reopen()
	if got := find(t, h.path("built")); got != "" || len(h.Built()) > 0 {
		t.Errorf("left %s", got)
	}
	h.sound()
}

// TestManySteps builds more steps on one another than overlayfs stacks.
func TestManySteps(t *testing.T) {
	h := newHouse(t)
	pile := h.step("base", nil, "f base 1", "f gone 1")
	for i := range mostStacked + 20 {
		name := fmt.Sprintf("step%d", i)
		item := fmt.Sprintf("f last %d", i)
		if i == 3 {
			item = "rm gone"
		}
		pile = h.step(name, pile, item)
	}
	if got, want := h.show(pile), fmt.Sprintf("base=1 last=%d", mostStacked+19); got != want {
		t.Errorf("shows %q", got)
	}
	if _, tar := h.packed(pile, 1); len(tar) != 2048 {
		t.Errorf("the last step packs to %d bytes", len(tar))
	}
	h.sound()
	if err := h.Settle(context.Background()); err != nil {
		t.Fatal(err)
	}
	h.reopen()
	if got, want := h.show(pile), fmt.Sprintf("base=1 last=%d", mostStacked+19); got != want {
		t.Errorf("afterwards shows %q", got)
	}
	if err := h.Scrap(context.Background(), pile...); err != nil {
		t.Fatal(err)
	}
	if got := find(t, h.path("built")); got != "" {
		t.Errorf("left %s", got)
	}
}

// TestMovable lays what was made on nothing on other layers, and refuses what hides things only where it was made.
func TestMovable(t *testing.T) {
	h := newHouse(t)
	base := Images([]digest.Digest{h.layer("d usr mode=750", "f usr/a 1")})
	link := h.step("link", nil, "d usr", "f usr/b 2")
	pile := append(append(Pile{}, base...), link...)
	if !h.Movable(link) || !h.Standing(pile) {
		t.Error("a layer made on nothing is bound to its place")
	}
	if got := h.show(pile); got != "usr/ usr/a=1 usr/b=2" {
		t.Error(got)
	}
	if got := h.show(h.step("upon", pile, "rm usr/a")); got != "usr/ usr/b=2" {
		t.Error(got)
	}
	if h.Movable(Pile{"upon"}) {
		t.Error("what removes something is movable")
	}
}

// BenchmarkBuilt makes, mounts and seals a step's layer on an image of 20 layers and 30 steps.
func BenchmarkBuilt(b *testing.B) {
	h := newHouse(b)
	ctx := context.Background()
	var ids []digest.Digest
	for i := range 20 {
		ids = append(ids, h.layer(fmt.Sprintf("f file%d 1", i)))
	}
	pile := Images(ids)
	for i := range 30 {
		pile = h.step(fmt.Sprint(i), pile, "f x 1")
	}
	for b.Loop() {
		h.step("bench", pile, "f y 1")
		if err := h.Scrap(ctx, "bench"); err != nil {
			b.Fatal(err)
		}
	}
}
