package content

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/layer"
)

// folders are layers that lie in plain folders, each named by its path, lowest first.
type folders struct{}

func (folders) PileDirs(p layer.Pile) ([]string, error) {
	dirs := slices.Clone([]string(p))
	slices.Reverse(dirs)
	return dirs, nil
}

// grow makes a folder of lines: "d PATH MODE", "f PATH TEXT MODE", "l PATH TARGET", "w PATH" a whiteout, "o PATH" an opaque
// directory.
func grow(t *testing.T, lines string) string {
	t.Helper()
	dir := t.TempDir()
	for line := range strings.SplitSeq(lines, ";") {
		w := append(strings.Fields(line), "", "", "")
		if w[0] == "" {
			continue
		}
		path := filepath.Join(dir, w[1])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		mode := func(text string, otherwise uint32) {
			fmt.Sscanf(text, "%o", &otherwise)
			if err == nil {
				err = syscall.Chmod(path, otherwise)
			}
		}
		switch w[0] {
		case "d", "o":
			err = os.MkdirAll(path, 0o755)
			mode(w[2], 0o755)
			if w[0] == "o" && err == nil {
				err = syscall.Setxattr(path, opaqueAttribute, []byte("y"), 0)
			}
		case "f":
			err = os.WriteFile(path, []byte(w[2]), 0o644)
			mode(w[3], 0o644)
		case "l":
			err = os.Symlink(w[2], path)
		case "w":
			err = syscall.Mknod(path, syscall.S_IFCHR, 0)
		}
		if err != nil {
			t.Fatal(line, err)
		}
	}
	return dir
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: whiteouts, opaque directories")
	}
}

func sum(t *testing.T, p layer.Pile, s ...Selector) digest.Digest {
	t.Helper()
	d, err := New(folders{}).Digest(context.Background(), p, s...)
	if err != nil {
		t.Fatal(s, err)
	}
	return d
}

func TestWhatCounts(t *testing.T) {
	needRoot(t)
	base := "f a/x text; l a/l x; d b 700"
	was := sum(t, layer.Pile{grow(t, base)})
	touched := grow(t, base)
	old := time.Unix(1000, 0)
	os.Chtimes(filepath.Join(touched, "a/x"), old, old)
	if sum(t, layer.Pile{touched}) != was {
		t.Error("times count")
	}
	for name, lines := range map[string]string{
		"content": "f a/x other; l a/l x; d b 700", "mode": "f a/x text 600; l a/l x; d b 700", "target": "f a/x text; l a/l y; d b 700",
		"mode of a directory": "f a/x text; l a/l x; d b 755", "name": "f a/y text; l a/l x; d b 700", "one more": base + "; d c",
		"one less": "f a/x text; l a/l x", "kind": "f a/x text; f a/l x; d b 700", "empty file": base + "; f z",
	} {
		if sum(t, layer.Pile{grow(t, lines)}) == was {
			t.Errorf("%s does not count", name)
		}
	}
	owned := grow(t, base)
	marked := grow(t, base)
	if err := errors.Join(os.Chown(filepath.Join(owned, "a/x"), 3, 4), syscall.Setxattr(filepath.Join(marked, "a/x"), "user.k", []byte("v"), 0)); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"owner": owned, "extended attributes": marked} {
		if sum(t, layer.Pile{dir}) == was {
			t.Errorf("%s does not count", name)
		}
	}
}

func TestPilesAreMerged(t *testing.T) {
	needRoot(t)
	flat := sum(t, layer.Pile{grow(t, "f a/kept k; f a/over new; f c/in i; f file now")})
	for name, pile := range map[string][]string{
		"over":     {"f a/kept k; f a/over old; f c/in i; f file now", "f a/over new"},
		"whiteout": {"f a/kept k; f a/over new; f c/in i; f file now; f gone g; f a/gone g", "w gone; w a/gone"},
		"opaque":   {"f a/kept k; f a/over new; f c/hidden h; f file now", "o c; f c/in i"},
		"replaced": {"f a/kept k; f a/over new; f file/was w; f c was-a-file", "f file now; f c/in i"},
		"again":    {"f a/kept k; f a/over new; f c/old o; f file now", "w c", "f c/in i"},
		"three":    {"f a/kept k", "f a/over new; f file now", "f c/in i"},
	} {
		var p layer.Pile
		for _, lines := range pile {
			p = append(p, grow(t, lines))
		}
		if sum(t, p) != flat {
			t.Errorf("%s: not what one layer is", name)
		}
	}
	if sum(t, nil) != sum(t, nil, Selector{Path: "/"}) {
		t.Error("scratch")
	}
}

func TestSelectors(t *testing.T) {
	needRoot(t)
	const base = "f a/x text; f a/y.md md; f b/x text; l link a; l out /etc/passwd; l up ../../../etc/passwd; l loop loop; f d1/1.png p; f d1/2.txt t; f d2/3.txt t"
	was := layer.Pile{grow(t, base)}
	for name, c := range map[string]struct {
		s      Selector
		change string // that must not count
		counts string // that must
	}{
		"path":             {Selector{Path: "/a"}, "f b/x other", "f a/new n"},
		"link followed":    {Selector{Path: "/link", Follow: true}, "f b/x other", "f a/x other"},
		"link on the way":  {Selector{Path: "/link/x"}, "f a/y.md other", "f a/x other"},
		"wildcard":         {Selector{Path: "/d*", Wildcard: true}, "f a/x other", "f d2/new n"},
		"deep wildcard":    {Selector{Path: "/*/x", Wildcard: true}, "f d1/new n; f a/y.md other", "f c/x new"},
		"behind a link":    {Selector{Path: "/link/*.md", Wildcard: true}, "f a/x other", "f a/y.md other"},
		"no match":         {Selector{Path: "/none*", Wildcard: true}, "f a/x other", "f none1 x"},
		"exclude":          {Selector{Path: "/a", Exclude: []string{"*.md"}}, "f a/y.md other; f a/z.md z", "f a/x other"},
		"exclude but":      {Selector{Path: "/", Exclude: []string{"**", "!a/x"}}, "f b/x other; d a/z", "f a/x other"},
		"include":          {Selector{Path: "/", Include: []string{"d1/*.png"}}, "f d1/2.txt other", "f d1/4.png new"},
		"include a parent": {Selector{Path: "/", Include: []string{"d1/*.png"}}, "f d2/3.txt other", "d d1 711"},
	} {
		for _, same := range []bool{true, false} {
			change := c.change
			if !same {
				change = c.counts
			}
			now := append(slices.Clone(was), grow(t, change))
			for _, dir := range []string{"a", "d1", "d2"} { // a layer that says nothing about a directory is like the one below
				os.Mkdir(filepath.Join(now[1], dir), 0o755)
			}
			if got := sum(t, was, c.s) == sum(t, now, c.s); got != same {
				t.Errorf("%s: %q same %v, want %v", name, change, got, same)
			}
		}
	}
	if sum(t, was, Selector{Path: "/a/x"}) != sum(t, was, Selector{Path: "/b/x"}) {
		t.Error("where it lies counts")
	}
	for _, s := range []Selector{
		{Path: "/none"}, {Path: "/none/*", Wildcard: true}, {Path: "/out", Follow: true}, {Path: "/up", Follow: true}, {Path: "/a/x/y"},
		{Path: "/", Include: []string{"none"}, Required: []string{"/none"}}, {Path: "/out*", Wildcard: true, Follow: true},
	} {
		if _, err := New(folders{}).Digest(context.Background(), was, s); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "not found") {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if _, err := New(folders{}).Digest(context.Background(), was, Selector{Path: "/loop", Follow: true}); err == nil {
		t.Error("a link to itself was followed to its end")
	}
	if _, err := New(folders{}).Digest(context.Background(), was, Selector{Path: "/[", Wildcard: true}); err == nil {
		t.Error("a broken pattern passed")
	}
}

func TestOnlyWhatChangedIsRead(t *testing.T) {
	needRoot(t)
	s := New(folders{})
	base := grow(t, "f a/x text; f b/y text")
	if _, err := s.Digest(context.Background(), layer.Pile{base}); err != nil {
		t.Fatal(err)
	}
	// A layer never changes: so what is written behind the store's back must not be seen.
	os.WriteFile(filepath.Join(base, "b/y"), []byte("TEXT"), 0o644)
	over := layer.Pile{base, grow(t, "f a/x more")}
	if d, err := s.Digest(context.Background(), over, Selector{Path: "/b"}); err != nil || d != sum(t, layer.Pile{grow(t, "f b/y text")}, Selector{Path: "/b"}) {
		t.Error("what is known was read again", err)
	}
	if err := s.Learn(over, map[string]digest.Digest{"a/x": digest.FromString("told")}); err != nil {
		t.Fatal(err)
	}
	// A name that was removed and given again is another layer.
	os.RemoveAll(base)
	os.Mkdir(base, 0o755)
	os.WriteFile(filepath.Join(base, "new"), nil, 0o644)
	if d, err := s.Digest(context.Background(), layer.Pile{base}); err != nil || d != sum(t, layer.Pile{base}) {
		t.Error("a layer that is gone was taken for one that is there", err)
	}
}

func FuzzSelectors(f *testing.F) {
	f.Add("/a", "*.md", "!x", true, true)
	f.Add("/../link/*", "**", "a/**/b", true, false)
	f.Add("[", "\\", "[", true, true)
	dir := f.TempDir()
	os.MkdirAll(filepath.Join(dir, "a/b"), 0o755)
	os.WriteFile(filepath.Join(dir, "a/b/x.md"), []byte("x"), 0o644)
	os.Symlink("../../..", filepath.Join(dir, "a/up"))
	os.Symlink("loop", filepath.Join(dir, "loop"))
	s := New(folders{})
	f.Fuzz(func(t *testing.T, path, include, exclude string, wildcard, follow bool) {
		one := Selector{Path: path, Wildcard: wildcard, Follow: follow}
		if include != "" {
			one.Include = []string{include}
		}
		if exclude != "" {
			one.Exclude = []string{exclude}
		}
		a, errA := s.Digest(context.Background(), layer.Pile{dir}, one)
		b, errB := New(folders{}).Digest(context.Background(), layer.Pile{dir}, one)
		if a != b || (errA == nil) != (errB == nil) {
			t.Errorf("%+v: %s %v, then %s %v", one, a, errA, b, errB)
		}
	})
}
