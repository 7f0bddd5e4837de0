package file

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/layer"
)

func digestOf(raw []byte) string { return digest.FromBytes(raw).String() }

// docker are the options that the Dockerfile front end gives to COPY.
func docker(o llb.CopyInfo) *llb.CopyInfo {
	o.FollowSymlinks, o.CopyDirContentsOnly, o.CreateDestPath, o.AllowWildcard, o.AllowEmptyWildcard = true, true, true, true, true
	return &o
}

// copyStep is COPY of sources, the last word being where to.
func copyStep(on llb.State, words string, o ...llb.CopyOption) llb.State {
	w := strings.Fields(words)
	var a *llb.FileAction
	for _, src := range w[:len(w)-1] {
		opts := append([]llb.CopyOption{docker(llb.CopyInfo{})}, o...)
		if a == nil {
			a = llb.Copy(llb.Image("ctx"), src, w[len(w)-1], opts...)
		} else {
			a = a.Copy(llb.Image("ctx"), src, w[len(w)-1], opts...)
		}
	}
	return on.File(a)
}

// expect compares a list with lines.
func expect(t *testing.T, got, want string) {
	t.Helper()
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSpace(want), "\n") {
		lines = append(lines, strings.TrimSpace(line))
	}
	if got = strings.TrimSpace(got); got != strings.Join(lines, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(lines, "\n"))
	}
}

func TestOwnersOfCopiedDirectories(t *testing.T) { // DF-7
	k := newKit(t)
	ctx := k.tree(nil, "d s 700 100:200\nd s/d 755 101:201\nf s/d/f x 644 102:202")
	base := k.tree(nil, "d e 755 500:600\nd e/d 700 501:601\nf e/k k 600 501:601\nd e2 755 500:600\nd e2/d 700 501:601\nf e2/k k 600 501:601")
	st := copyStep(llb.Image("base"), "/s /new")
	st = copyStep(st, "/s/. /e")
	st = copyStep(st, "/s /new2", llb.WithUser("300:400"))
	st = copyStep(st, "/s/. /e2", llb.WithUser("300:400"))
	p, err := k.run(st, map[string]layer.Pile{"ctx": ctx, "base": base})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, k.list(p), `
		e 755 500:600 /
		e/d 755 101:201 /
		e/d/f 644 102:202 "x"
		e/k 600 501:601 "k"
		e2 755 500:600 /
		e2/d 755 300:400 /
		e2/d/f 644 300:400 "x"
		e2/k 600 501:601 "k"
		new 755 0:0 /
		new/d 755 101:201 /
		new/d/f 644 102:202 "x"
		new2 755 300:400 /
		new2/d 755 300:400 /
		new2/d/f 644 300:400 "x"`)
}

func TestCopyPatterns(t *testing.T) { // DF-8
	k := newKit(t)
	ctx := k.tree(nil, "f foo.go foo\nf bar.go bar\nf sub/dir1/dir2/foo deep\nf arr[0].txt arr")
	piles := map[string]layer.Pile{"ctx": ctx}
	st := llb.Scratch()
	for _, words := range []string{
		"/*.go /g/", "/f*.go /one.go", "/sub/* /s/", "/sub/*/dir2/foo /t/bar", "/sub/dir1 /u", "/sub/dir1/ /v",
		"/arr[[]0].txt /x/", "/foo.go /none* /y/", "/none* /z/",
	} {
		st = copyStep(st, words)
	}
	p, err := k.run(st, piles)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, k.list(p), `
		g 755 0:0 /
		g/bar.go 644 0:0 "bar"
		g/foo.go 644 0:0 "foo"
		one.go 644 0:0 "foo"
		s 755 0:0 /
		s/dir2 755 0:0 /
		s/dir2/foo 644 0:0 "deep"
		t 755 0:0 /
		t/bar 644 0:0 "deep"
		u 755 0:0 /
		u/dir2 755 0:0 /
		u/dir2/foo 644 0:0 "deep"
		v 755 0:0 /
		v/dir2 755 0:0 /
		v/dir2/foo 644 0:0 "deep"
		x 755 0:0 /
		x/arr[0].txt 644 0:0 "arr"
		y 755 0:0 /
		y/foo.go 644 0:0 "foo"`)
	if _, err := k.run(copyStep(llb.Scratch(), "/nofile /z"), piles); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), `"/nofile": not found`) {
		t.Error(err)
	}
	if _, err := k.run(copyStep(copyStep(llb.Scratch(), "/foo.go /d"), "/sub /d"), piles); err == nil || !strings.Contains(err.Error(), "cannot copy to non-directory: /d") {
		t.Error(err)
	}
	for _, to := range []string{"/d/", "/d/.", "/d/x/", "/d/x"} { // below a file
		if _, err := k.run(copyStep(copyStep(llb.Scratch(), "/foo.go /d"), "/bar.go "+to), piles); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("%s: %v", to, err)
		}
	}
	whole := llb.CopyInfo{CreateDestPath: true}
	if _, err := k.run(copyStep(llb.Scratch(), "/foo.go /d").File(llb.Copy(llb.Image("ctx"), "/sub", "/d", &whole)), piles); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a directory in the place of a file: %v", err)
	}
	if _, err := k.run(copyStep(copyStep(llb.Scratch(), "/sub /d"), "/foo.go /d/x").File(llb.Copy(llb.Image("ctx"), "/foo.go", "/d/dir1", docker(llb.CopyInfo{}))), piles); err != nil {
		t.Error(err)
	}
}

func TestCopyAndLinks(t *testing.T) { // DF-9
	k := newKit(t)
	ctx := k.tree(nil, `
		f bar bar
		l l bar
		l dl sub
		f sub/x x
		l sub/in x
		l out /etc/passwd
		l up ../../../etc/passwd`)
	base := k.tree(nil, "d opt\nd tmp\nl lnk ../tmp/tg\nl abs /opt")
	piles := map[string]layer.Pile{"ctx": ctx, "base": base}
	st := llb.Image("base")
	for _, words := range []string{"/l /1", "/dl/x /2", "/sub /3/", "/bar /lnk/", "/bar /abs/"} {
		st = copyStep(st, words)
	}
	p, err := k.run(st, piles)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, k.list(p), `
		1 644 0:0 "bar"
		2 644 0:0 "x"
		3 755 0:0 /
		3/in 777 0:0 -> x
		3/x 644 0:0 "x"
		abs 777 0:0 -> /opt
		lnk 777 0:0 -> ../tmp/tg
		opt 755 0:0 /
		opt/bar 644 0:0 "bar"
		tmp 755 0:0 /
		tmp/tg 755 0:0 /
		tmp/tg/bar 644 0:0 "bar"`)
	for _, src := range []string{"/out", "/up"} {
		if _, err := k.run(copyStep(llb.Scratch(), src+" /4"), piles); !errdefs.IsNotFound(err) {
			t.Error(src, err)
		}
	}
}

func TestParentsAndExcludes(t *testing.T) { // DF-20
	k := newKit(t)
	piles := map[string]layer.Pile{
		"ctx": k.tree(nil, "d t/a 711 5:6\nf t/a/b/c/d/foo foo\nf t/a/b/c/d/e/bay bay"),
	}
	parents := func(src, pattern string, required ...string) llb.State {
		return llb.Scratch().File(llb.Copy(llb.Image("ctx"), src, "/o/", docker(llb.CopyInfo{
			IncludePatterns: []string{pattern}, RequiredPaths: required,
		})))
	}
	p, err := k.run(parents("/t/a/b", "c/d", "/t/a/b/c/d"), piles)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, k.list(p), `
		o 755 0:0 /
		o/c 755 0:0 /
		o/c/d 755 0:0 /
		o/c/d/e 755 0:0 /
		o/c/d/e/bay 644 0:0 "bay"
		o/c/d/foo 644 0:0 "foo"`)
	if p, err = k.run(parents("/", "t/a/b/c/d/e", "/t/a/b/c/d/e"), piles); err != nil {
		t.Fatal(err)
	}
	expect(t, k.list(p), `
		o 755 0:0 /
		o/t 755 0:0 /
		o/t/a 711 5:6 /
		o/t/a/b 755 0:0 /
		o/t/a/b/c 755 0:0 /
		o/t/a/b/c/d 755 0:0 /
		o/t/a/b/c/d/e 755 0:0 /
		o/t/a/b/c/d/e/bay 644 0:0 "bay"`)
	if p, err = k.run(parents("/", "t/a/b2*/c"), piles); err != nil {
		t.Fatal(err)
	}
	expect(t, k.list(p), "o 755 0:0 /")
	if _, err = k.run(parents("/", "t/none", "/t/none"), piles); !errdefs.IsNotFound(err) {
		t.Error(err)
	}

	itself := llb.Image("ctx").File(llb.Copy(llb.Image("ctx"), "/", "/r/", docker(llb.CopyInfo{
		IncludePatterns: []string{"t/none"}, RequiredPaths: []string{"/t/none"},
	})))
	if _, err = k.run(itself, piles); !errdefs.IsNotFound(err) {
		t.Error(err)
	}

	piles["ctx"] = k.tree(nil, "f d1/1.png 1\nf d1/2.txt 2\nl d2/l 2.txt")
	exclude := func(p ...string) llb.CopyOption { return llb.WithExcludePatterns(p) }
	st := copyStep(llb.Scratch(), "/ /x", exclude("*/*.png"))
	st = copyStep(st, "/d* /y/", exclude("*.txt"))
	if p, err = k.run(st, piles); err != nil {
		t.Fatal(err)
	}
	expect(t, k.list(p), `
		x 755 0:0 /
		x/d1 755 0:0 /
		x/d1/2.txt 644 0:0 "2"
		x/d2 755 0:0 /
		x/d2/l 777 0:0 -> 2.txt
		y 755 0:0 /
		y/1.png 644 0:0 "1"
		y/l 777 0:0 -> 2.txt`)
}
