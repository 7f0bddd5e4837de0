package file

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"

	"github.com/cove-containers/cove/layer"
)

// in does something in a new layer's folder and makes a pile of it.
func (k *kit) in(below layer.Pile, do func(at string)) layer.Pile {
	k.t.Helper()
	p := k.tree(below, "d .")
	name := k.env.Lease.Name()
	if err := k.layers.Build(context.Background(), name, p); err != nil {
		k.t.Fatal(err)
	}
	root, err := k.layers.Root(context.Background(), name)
	if err != nil {
		k.t.Fatal(err)
	}
	do(fmt.Sprintf("/proc/self/fd/%d/", root.Dir.Fd()))
	if err := root.Close(); err != nil {
		k.t.Fatal(err)
	}
	if _, err := k.layers.Seal(context.Background(), name); err != nil {
		k.t.Fatal(err)
	}
	return append(p, name)
}

// archived is a tar archive of lines: "d NAME", "f NAME TEXT", "l NAME TARGET".
func archived(t *testing.T, lines ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, line := range lines {
		p := append(strings.Fields(line), "")
		h := &tar.Header{Name: p[1], Mode: 0o644, Uid: 5, Gid: 6, ModTime: time.Unix(1000, 0)}
		switch p[0] {
		case "d":
			h.Typeflag, h.Mode = tar.TypeDir, 0o750
		case "l":
			h.Typeflag, h.Linkname = tar.TypeSymlink, p[2]
		default:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(p[2]))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			w.Write([]byte(p[2]))
		}
	}
	w.Close()
	return out.Bytes()
}

func packed(raw []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(raw)
	w.Close()
	return out.Bytes()
}

func TestArchivesAreExtracted(t *testing.T) { // DF-17
	k := newKit(t)
	var zst bytes.Buffer
	z, _ := zstd.NewWriter(&zst)
	z.Write(archived(t, "f z Z"))
	z.Close()
	ctx := k.in(nil, func(at string) {
		for name, data := range map[string][]byte{
			"t.tar.gz": packed(archived(t, "f etc/d/x X")), "fake.tar.gz": {}, "n.dat": archived(t, "f in IN"),
			"v.tar": archived(t, "f var/run/y Y"), "z": zst.Bytes(), "broken.tar.gz": packed(archived(t, "f a A"))[:20],
			"up.tar": archived(t, "f ../../../evil E", "l out /etc", "f out/evil2 E"),
		} {
			if err := os.WriteFile(at+name, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		os.Symlink("n.dat", at+"link")
	})
	base := k.tree(nil, "d run\nl var/run ../run\nf etc/kept kept 600 1:1\nd etc 711 9:9")
	piles := map[string]layer.Pile{"ctx": ctx, "base": base}
	add := func(on llb.State, src, dst string, o ...llb.CopyOption) llb.State {
		return on.File(llb.Copy(llb.Image("ctx"), src, dst, append([]llb.CopyOption{docker(llb.CopyInfo{AttemptUnpack: true})}, o...)...))
	}
	st := add(llb.Image("base"), "/t.tar.gz", "/")
	st = add(st, "/fake.tar.gz", "/f")
	st = add(st, "/n.dat", "/n/")
	st = add(st, "/link", "/n2/")
	st = add(st, "/v.tar", "/")
	st = add(st, "/z", "/z/")
	st = add(st, "/t.tar.gz", "/o/", llb.WithUser("1:2"))
	st = copyStep(st, "/t.tar.gz /c/")
	p, err := k.run(st, piles)
	if err != nil {
		t.Fatal(err)
	}
	list := k.list(p)
	for _, want := range []string{
		"etc 711 9:9 /", `etc/d/x 644 5:6 "X"`, `etc/kept 600 1:1 "kept"`, `f 644 0:0 ""`, `n/in 644 5:6 "IN"`, `n2/in 644 5:6 "IN"`,
		`run/y 644 5:6 "Y"`, "var/run 777 0:0 -> ../run", `z/z 644 5:6 "Z"`, `o/etc/d/x 644 1:2 "X"`, "c/t.tar.gz 644 0:0 ",
	} {
		if !strings.Contains("\n"+list, "\n"+want) {
			t.Errorf("%q is not in\n%s", want, list)
		}
	}
	if p, err = k.run(add(llb.Image("base"), "/broken.tar.gz", "/b/"), piles); err == nil && !strings.Contains(k.list(p), "b/broken.tar.gz") {
		t.Error("a broken archive vanished")
	}
	p, err = k.run(add(llb.Image("base"), "/up.tar", "/in/side/"), piles)
	if _, e := os.Stat("/evil"); e == nil {
		t.Error("an archive wrote outside of the build")
	}
	if err == nil && strings.Contains(k.list(p), "\nevil") {
		t.Error(k.list(p))
	}
}

func TestWorkingDirectories(t *testing.T) { // DF-6
	k := newKit(t)
	base := k.tree(nil, "f etc/passwd u:x:1000:1001:::\nd ex 755 7:8")
	piles := map[string]layer.Pile{"base": base}
	st := llb.Image("base").File(llb.Mkdir("/n/m", 0o755, llb.WithParents(true), llb.WithUser("u")))
	st = st.File(llb.Mkdir("/ex", 0o755, llb.WithParents(true), llb.WithUser("u")))
	p, err := k.run(st, piles)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, k.list(p, "etc"), "ex 755 7:8 /\nn 755 1000:1001 /\nn/m 755 1000:1001 /")
	if p, err = k.run(llb.Scratch().File(llb.Mkdir("/only", 0o755, llb.WithParents(true))), piles); err != nil || len(p) != 1 {
		t.Fatal(p, err)
	}
	expect(t, k.list(p), "only 755 0:0 /")
	at := time.Unix(1234, 0)
	p, err = k.run(llb.Scratch().File(llb.Mkdir("/a/b", 0o700, llb.WithParents(true), llb.WithCreatedTime(at))), piles)
	if err != nil {
		t.Fatal(err)
	}
	root, err := k.layers.OpenPile(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"a", "a/b"} {
		if st, err := os.Stat(fmt.Sprintf("/proc/self/fd/%d/%s", root.Dir.Fd(), name)); err != nil || !st.ModTime().Equal(at) {
			t.Error(name, st, err)
		}
	}
	if _, err := k.run(llb.Image("base").File(llb.Mkdir("/etc/passwd/x", 0o755, llb.WithParents(true))), piles); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Error(err)
	}
}

func TestOtherActions(t *testing.T) {
	k := newKit(t)
	piles := map[string]layer.Pile{"base": k.tree(nil, "f d/a 1\nf d/b 2\nf keep k\nl link keep\nl dir d\nf etc/group g:x:77:\nd e/full/of")}
	st := llb.Image("base").File(llb.Rm("/d/*", llb.WithAllowWildcard(true)).
		Rm("/nothing", llb.WithAllowNotFound(true)).
		Rm("/e").
		Mkfile("/new", 0o640, []byte("text"), llb.WithUser("5:g")).
		Mkfile("/link", 0o600, []byte("through")).
		Mkfile("/dir/in", 0o644, []byte("in")))
	st = st.File(llb.Symlink("/anywhere", "/dir/l", llb.WithUser("3:4")))
	p, err := k.run(st, piles)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, k.list(p, "etc"), `
		d 755 0:0 /
		d/in 644 0:0 "in"
		d/l 777 3:4 -> /anywhere
		dir 777 0:0 -> d
		keep 600 0:0 "through"
		link 777 0:0 -> keep
		new 640 5:77 "text"`)
	for _, a := range []*llb.FileAction{llb.Rm("/nothing"), llb.Rm("/"), llb.Mkfile("/", 0, nil), llb.Mkfile("/none/x", 0, nil)} {
		if _, err := k.run(llb.Image("base").File(a), piles); err == nil {
			t.Errorf("%+v succeeded", a)
		}
	}
}

func TestModesOfCopies(t *testing.T) {
	k := newKit(t)
	piles := map[string]layer.Pile{"ctx": k.tree(nil, "f f x 644\nf s/run x 755\nf s/f x 640")}
	modes := func(o llb.ChmodOpt, src, dst string) llb.State {
		return llb.Scratch().File(llb.Copy(llb.Image("ctx"), src, dst, docker(llb.CopyInfo{Mode: &o})))
	}
	for want, st := range map[string]llb.State{
		"d 755 0:0 /\nd/f 4711 0:0 \"x\"":                     modes(llb.ChmodOpt{Mode: 0o4711}, "/f", "/d/f"),
		"x 755 0:0 /\nx/f 740 0:0 \"x\"\nx/run 755 0:0 \"x\"": modes(llb.ChmodOpt{ModeStr: "u+x,g+X"}, "/s", "/x"),
		"x 755 0:0 /\nx/f 600 0:0 \"x\"\nx/run 700 0:0 \"x\"": modes(llb.ChmodOpt{ModeStr: "go="}, "/s/", "/x"),
	} {
		p, err := k.run(st, piles)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := strings.TrimSpace(k.list(p)); !strings.HasSuffix(got, want[strings.Index(want, "\n")+1:]) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

func TestSpecialFilesAreCopied(t *testing.T) {
	k := newKit(t)
	ctx := k.in(nil, func(at string) {
		for _, err := range []error{
			os.WriteFile(at+"one", []byte("1"), 0o644), os.Link(at+"one", at+"two"), os.Mkdir(at+"d", 0o755), os.Link(at+"one", at+"d/three"),
			syscall.Mknod(at+"dev", syscall.S_IFCHR|0o600, 1<<8|3), syscall.Mknod(at+"fifo", syscall.S_IFIFO|0o640, 0),
			syscall.Setxattr(at+"one", "user.k", []byte("v"), 0), os.WriteFile(at+"sparse", nil, 0o644), os.Truncate(at+"sparse", 64<<20),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	p, err := k.run(copyStep(llb.Scratch(), "/ /c"), map[string]layer.Pile{"ctx": ctx})
	if err != nil {
		t.Fatal(err)
	}
	root, err := k.layers.OpenPile(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	at := fmt.Sprintf("/proc/self/fd/%d/c/", root.Dir.Fd())
	stat := func(name string) *syscall.Stat_t {
		var st syscall.Stat_t
		if err := syscall.Lstat(filepath.Join(at, name), &st); err != nil {
			t.Fatal(err)
		}
		return &st
	}
	if a, b, c := stat("one"), stat("two"), stat("d/three"); a.Ino != b.Ino || a.Ino != c.Ino || a.Nlink != 3 {
		t.Error("names of one file are names of several")
	}
	if st := stat("dev"); st.Rdev != 1<<8|3 || st.Mode != syscall.S_IFCHR|0o600 {
		t.Error(st)
	}
	if st := stat("fifo"); st.Mode != syscall.S_IFIFO|0o640 {
		t.Error(st)
	}
	if st := stat("sparse"); st.Size != 64<<20 || st.Blocks > 100 {
		t.Error("the holes were filled", st.Blocks)
	}
	value := make([]byte, 10)
	if n, err := syscall.Getxattr(at+"one", "user.k", value); err != nil || string(value[:n]) != "v" {
		t.Error(err)
	}
}

func TestMergeAndDiff(t *testing.T) {
	k := newKit(t)
	base := k.tree(nil, "f a/1 1\nf a/2 2\nf b b\nf gone g")
	other := k.tree(nil, "f a/3 3\nf c c")
	piles := map[string]layer.Pile{"base": base, "other": other}
	link := copyStep(llb.Scratch(), "/c /a/4")
	piles["ctx"] = other
	p, err := k.run(llb.Merge([]llb.State{llb.Image("base"), link}), piles)
	if err != nil {
		t.Fatal(err)
	}
	if len(p) != 2 || p[0] != base[0] {
		t.Errorf("COPY --link copied: %v", p)
	}
	if l := k.list(p); !strings.Contains(l, `a/1 644 0:0 "1"`) || !strings.Contains(l, `a/4 644 0:0 "c"`) {
		t.Error(l)
	}
	changed := llb.Image("base").File(llb.Rm("/gone").Mkfile("/a/2", 0o600, []byte("new")).Mkdir("/made", 0o755))
	d := llb.Diff(llb.Image("base"), changed)
	if p, err = k.run(d, piles); err != nil {
		t.Fatal(err)
	}
	expect(t, k.list(p), "a 755 0:0 /\na/2 600 0:0 \"new\"\nmade 755 0:0 /")
	target := k.tree(nil, "f gone x\nf made/inside i\nf a/2 old")
	piles["target"] = target
	if p, err = k.run(llb.Merge([]llb.State{llb.Image("target"), d}), piles); err != nil {
		t.Fatal(err)
	}
	expect(t, k.list(p), "a 755 0:0 /\na/2 600 0:0 \"new\"\nmade 755 0:0 /\nmade/inside 644 0:0 \"i\"")
	if p, err = k.run(llb.Merge([]llb.State{llb.Image("base"), llb.Diff(llb.Image("base"), llb.Image("other"))}), piles); err != nil {
		t.Fatal(err)
	}
	expect(t, k.list(p), "a 755 0:0 /\na/3 644 0:0 \"3\"\nc 644 0:0 \"c\"")
}

func TestNonsenseIsRefused(t *testing.T) {
	k := newKit(t)
	mkdir := &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/x"}}
	for name, actions := range map[string][]*pb.FileAction{
		"nothing":          nil,
		"no output":        {{Input: -1, SecondaryInput: -1, Output: -1, Action: mkdir}},
		"twice":            {{Input: -1, SecondaryInput: -1, Action: mkdir}, {Input: -1, SecondaryInput: -1, Action: mkdir}},
		"a gap":            {{Input: -1, SecondaryInput: -1, Output: 1, Action: mkdir}},
		"no such input":    {{Input: 7, SecondaryInput: -1, Action: mkdir}},
		"negative":         {{Input: -2, SecondaryInput: -1, Action: mkdir}},
		"itself":           {{Input: 0, SecondaryInput: -1, Action: mkdir}},
		"each other":       {{Input: 1, SecondaryInput: -1, Output: 0, Action: mkdir}, {Input: 0, SecondaryInput: -1, Output: 1, Action: mkdir}},
		"no action":        {{Input: -1, SecondaryInput: -1}},
		"an unknown owner": {{Input: -1, SecondaryInput: -1, Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/x", Owner: &pb.ChownOpt{User: &pb.UserOpt{User: &pb.UserOpt_ByName{ByName: &pb.NamedUserOpt{Input: -1}}}}}}}},
	} {
		if _, err := k.maker.File(&pb.FileOp{Actions: actions}, 0); err == nil {
			t.Errorf("%s passed", name)
		}
	}
}
