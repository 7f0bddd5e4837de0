package source

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil"

	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/layer"
)

// folder serves a directory as the build context.
func folder(t *testing.T, dir string) session.Attachable {
	t.Helper()
	served, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	return filesync.NewFSSyncProvider(filesync.StaticDirSource{"context": served})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sync brings the context in, once.
func (k *kit) sync(id string, attrs map[string]string) (layer.Pile, func(), error) {
	k.t.Helper()
	s, err := k.maker.Op(&pb.SourceOp{Identifier: "local://context", Attrs: attrs}, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	env, done := k.env(id)
	out, err := k.run(env, s)
	if err != nil {
		return nil, done, err
	}
	return out.Refs[0].Pile, done, nil
}

func TestFolderComesByDifferences(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	for i := range 50 {
		write(t, filepath.Join(dir, fmt.Sprintf("d%d/f", i%5), fmt.Sprint(i)), fmt.Sprint(i))
	}
	os.Symlink("/etc/passwd", filepath.Join(dir, "out"))
	os.Symlink("nowhere", filepath.Join(dir, "d1", "dangling"))
	if err := os.Link(filepath.Join(dir, "d0/f/0"), filepath.Join(dir, "d4/linked")); err != nil {
		t.Fatal(err)
	}
	id, _ := k.client("shared", folder(t, dir))
	same := func(p layer.Pile) {
		t.Helper()
		if got, want := k.list(p), list(t, dir); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	first, done, err := k.sync(id, nil)
	if err != nil {
		t.Fatal(err)
	}
	same(first)
	before := k.list(first)
	done()
	again, done, err := k.sync(id, nil)
	if err != nil || len(again) != 1 || again[0] != first[0] {
		t.Fatal(again, err)
	}
	done()
	changes := []func(){
		func() { write(t, filepath.Join(dir, "d1/f/1"), "changed") },
		func() { os.Remove(filepath.Join(dir, "d2/f/2")) },
		func() { os.RemoveAll(filepath.Join(dir, "d3")); write(t, filepath.Join(dir, "d3"), "a file now") },
		func() {
			os.Remove(filepath.Join(dir, "d3"))
			write(t, filepath.Join(dir, "d3/new/deep"), "a directory again")
		},
		func() { os.Chmod(filepath.Join(dir, "d4"), 0o711); os.Chown(filepath.Join(dir, "d4/f/4"), 7, 8) },
		func() { os.Remove(filepath.Join(dir, "out")); os.Symlink("elsewhere", filepath.Join(dir, "out")) },
		func() { write(t, filepath.Join(dir, "d0/f/0"), "through two names") },
		func() {
			for i := range 30 {
				write(t, filepath.Join(dir, fmt.Sprint("new", i), "x"), strings.Repeat("y", 100_000))
			}
		},
		func() {
			for i := range 30 {
				os.RemoveAll(filepath.Join(dir, fmt.Sprint("new", i)))
			}
		},
	}
	for range 2 {
		for i, change := range changes {
			change()
			k.said = map[string]step.Status{}
			p, done, err := k.sync(id, nil)
			if err != nil {
				t.Fatal(i, err)
			}
			same(p)
			if s := k.said["transferring context:"]; s.Completed == nil || s.Current == 0 || s.Current > 20_000 && i != 7 {
				t.Errorf("change %d: told %+v", i, s)
			}
			done()
		}
	}
	if k.list(first) != before {
		t.Error("the first state is not what it was")
	}
}

// TestSameSizeAndTime: a file may have another content and look as it did.
func TestSameSizeAndTime(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	at := map[string]time.Time{
		"whole": time.Unix(1e9, 0), "d/fraction": time.Unix(1e9, 5), "d/e/named": time.Unix(1e9, 0), "long": time.Unix(1e9, 7), "kept": time.Unix(1e9, 9),
	}
	fill := func(text string) {
		for name, when := range at {
			content := text
			switch name {
			case "long": // another one near its end only, after what comes in one piece
				content = strings.Repeat("x", 100_000) + text
			case "kept":
				content = "same"
			}
			write(t, filepath.Join(dir, name), content)
			if err := os.Chtimes(filepath.Join(dir, name), when, when); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"d", "d/e", "z"} {
			os.MkdirAll(filepath.Join(dir, name), 0o755)
			os.Chtimes(filepath.Join(dir, name), time.Unix(1e9, 3), time.Unix(1e9, 3))
		}
	}
	fill("old")
	for _, name := range []string{"d/linked", "z/linked"} {
		if err := os.Link(filepath.Join(dir, "d/e/named"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	fill("old")
	id, _ := k.client("shared", folder(t, dir))
	first, done, err := k.sync(id, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := k.list(first)
	done()
	if again, done, err := k.sync(id, nil); err != nil || len(again) != 1 || again[0] != first[0] {
		t.Error(again, err)
	} else {
		done()
	}
	fill("new")
	now, done, err := k.sync(id, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if got, want := k.list(now), list(t, dir); got != want || len(now) != 2 {
		t.Errorf("%d layers, got\n%s\nwant\n%s", len(now), got, want)
	}
	if k.list(first) != before {
		t.Error("the first state is not what it was")
	}
	top, err := k.maker.parts.Layers.PileDirs(now[1:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(top[0], "kept")); err == nil {
		t.Error("a file that is the same was written again")
	}
}

func TestFolderIsKnownAfterARestart(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	for i := range 20 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), fmt.Sprint(i))
	}
	id, _ := k.client("shared", folder(t, dir))
	p, done, err := k.sync(id, nil)
	if err != nil {
		t.Fatal(err)
	}
	done()
	was, err := k.maker.parts.Content.Digest(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	k.maker = New(Parts{Layers: k.layers, Content: content.New(k.layers), Images: k.images, Folder: k.maker.parts.Folder})
	write(t, filepath.Join(dir, "1"), "changed")
	if p, done, err = k.sync(id, nil); err != nil || len(p) != 2 {
		t.Fatal(p, err)
	}
	done()
	pile, err := k.maker.parts.Content.Open(p[:1])
	if err != nil {
		t.Fatal(err)
	}
	if known, err := pile.Contents(); err != nil || len(known) != 20 {
		t.Errorf("%d of 20 files are known: %v", len(known), err)
	}
	if now, err := pile.Digest(context.Background()); err != nil || now != was {
		t.Error(now, err)
	}
	if err := k.layers.Scrap(context.Background(), p...); err != nil {
		t.Fatal(err)
	}
	New(k.maker.parts)
	if left, _ := os.ReadDir(filepath.Join(k.maker.parts.Folder, "contents")); len(left) != 0 {
		t.Error(left)
	}
}

func TestFolderIsFiltered(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	for _, name := range []string{"a/1", "a/2.md", "b/1", "c ü/1", "target/x"} {
		write(t, filepath.Join(dir, name), name)
	}
	os.Symlink("target", filepath.Join(dir, "link"))
	id, _ := k.client("shared", folder(t, dir))
	for attrs, want := range map[string]string{
		`local.includepattern ["a","c ü"]`:  "a a/1 a/2.md c ü c ü/1",
		`local.excludepatterns ["**/*.md"]`: "a a/1 b b/1 c ü c ü/1 link target target/x",
		`local.followpaths ["link/x"]`:      "link target target/x",
	} {
		key, value, _ := strings.Cut(attrs, " ")
		p, done, err := k.sync(id, map[string]string{key: value})
		if err != nil {
			t.Fatal(attrs, err)
		}
		var names []string
		for line := range strings.Lines(k.list(p)) {
			names = append(names, regexp.MustCompile(` [0-7]+ 0:0 .*\n`).ReplaceAllString(line, ""))
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s gives %q", attrs, got)
		}
		done()
	}
}

func TestFolderForTwoAtOnce(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	for i := range 200 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), fmt.Sprint(i))
	}
	id, _ := k.client("shared", folder(t, dir))
	want := list(t, dir)
	var wait sync.WaitGroup
	for range 6 {
		wait.Go(func() {
			p, done, err := k.sync(id, nil)
			defer done()
			if err != nil {
				t.Error(err)
			} else if k.list(p) != want {
				t.Error("not what the client has")
			}
		})
	}
	wait.Wait()
}

// slow is a folder whose client hangs up in the middle.
type slow struct {
	fsutil.FS
	hangUp func()
}

func (s *slow) Walk(ctx context.Context, target string, fn fs.WalkDirFunc) error {
	n := 0
	return s.FS.Walk(ctx, target, func(path string, e os.DirEntry, err error) error {
		if n++; n == 20 {
			s.hangUp()
			time.Sleep(50 * time.Millisecond)
		}
		return fn(path, e, err)
	})
}

func TestFolderOfAClientThatDisappears(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	for i := range 40 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), fmt.Sprint(i))
	}
	id, _ := k.client("shared", folder(t, dir))
	p, done, err := k.sync(id, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := k.list(p)
	done()
	for i := range 40 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), "other")
	}
	served, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	leaving := &slow{FS: served}
	gone, hangUp := k.client("shared", filesync.NewFSSyncProvider(filesync.StaticDirSource{"context": leaving}))
	leaving.hangUp = hangUp
	if _, done, err := k.sync(gone, nil); err == nil {
		t.Error("a half transfer passed for a whole one")
	} else {
		done()
	}
	if built := k.layers.Built(); len(built) != 1 {
		t.Errorf("left behind: %v", built)
	}
	if left, _ := os.ReadDir(filepath.Join(k.dir, "layers", "built")); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if k.list(p) != before {
		t.Error("the former state was touched")
	}
}
