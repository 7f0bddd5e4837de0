package local

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPlace(t *testing.T) {
	file, dir := Node{Exists: true}, Node{Exists: true, IsDir: true}
	at := func(p string, exists, isDir bool) Node { return Node{p, exists, isDir} }
	for _, test := range []struct {
		source    Node
		name      string
		target    Node
		dir, want string
		fails     error
	}{
		{file, "f", at("/new", false, false), "/", "new", nil},
		{file, "f", at("/new/", false, false), "", "", errNoDirectory},
		{file, "f", at("/new/.", false, false), "", "", errNoDirectory},
		{file, "f", at("/F", true, false), "/", "F", nil},
		{file, "f", at("/D", true, true), "/D", "f", nil},
		{file, "f", at("/D/", true, true), "/D/", "f", nil},
		{file, "f", at("rel", false, false), ".", "rel", nil},
		{dir, "d", at("/nd", false, false), "/", "nd", nil},
		{dir, "d", at("/nd/", false, false), "/", "nd", nil},
		{dir, "d", at("/D", true, true), "/D", "d", nil},
		{dir, ".", at("/D", true, true), "/D", ".", nil},
		{dir, ".", at("/nd", false, false), "/", "nd", nil},
		{dir, "d", at("/F", true, false), "", "", errCopyDirectory},
	} {
		place, name, err := Place(test.source, test.name, test.target)
		if place != test.dir || name != test.want || err != test.fails {
			t.Errorf("%+v %q to %+v: %q %q %v", test.source, test.name, test.target, place, name, err)
		}
	}
}

func TestSplit(t *testing.T) {
	for p, want := range map[string][2]string{
		"/a/b": {"/a", "b"}, "/a/b/": {"/a", "b"}, "/a/b/.": {"/a/b", "."}, ".": {".", "."}, "/": {"/", "/"}, "a": {".", "a"}, "n.": {".", "n."},
	} {
		if dir, name := Split(p); dir != want[0] || name != want[1] {
			t.Errorf("%s: %q %q", p, dir, name)
		}
	}
}

// tree makes files, folders (ending in a slash) and links (->) in a folder of their own.
func tree(t *testing.T, items ...string) string {
	t.Helper()
	top := t.TempDir()
	for _, item := range items {
		name, target, link := strings.Cut(item, "->")
		var err error
		switch p := filepath.Join(top, name); {
		case link:
			err = os.Symlink(target, p)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(p, 0o755)
		default:
			err = os.WriteFile(p, []byte(name), 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return top
}

// list is what tree makes, the other way round.
func list(t testing.TB, top string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(top, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == top {
			return err
		}
		name, _ := filepath.Rel(top, p)
		switch {
		case e.IsDir():
			name += "/"
		case e.Type()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			name += "->" + target
		}
		all = append(all, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestRoundTrip(t *testing.T) {
	from := tree(t, "d/", "d/k/", "d/k/f", "d/l->k/f", "d/gone->/no/such")
	when := time.Unix(1_500_000_000, 0)
	if err := os.Chtimes(from+"/d/k", when, when); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(from+"/d/k/f", from+"/d/same"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(from+"/d/k", 0o500); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"x": "x/ x/gone->/no/such x/k/ x/k/f x/l->k/f x/same",
		".": "gone->/no/such k/ k/f l->k/f same",
	} {
		to := t.TempDir()
		for range 2 { // the second replaces what the first made
			var b bytes.Buffer
			if err := Pack(&b, from+"/d", "d"); err != nil {
				t.Fatal(err)
			}
			if err := Unpack(&b, to, "d", name); err != nil {
				t.Fatal(err)
			}
		}
		if got := list(t, to); got != want {
			t.Errorf("as %s: %s", name, got)
		}
		info, err := os.Stat(filepath.Join(to, name, "k"))
		if err != nil || info.Mode().Perm() != 0o500 || !info.ModTime().Equal(when) {
			t.Errorf("%v %v", info, err)
		}
		one, _ := os.Stat(filepath.Join(to, name, "k/f"))
		other, _ := os.Stat(filepath.Join(to, name, "same"))
		if !os.SameFile(one, other) || one.Mode().Perm() != 0o640 {
			t.Errorf("%v and %v", one, other)
		}
		os.Chmod(filepath.Join(to, name, "k"), 0o700)
	}
	os.Chmod(from+"/d/k", 0o700)
}

// entries is an archive of these headers; a file's text is its name.
func entries(t testing.TB, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Mode = 0o755; h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, h.Name)
		}
	}
	w.Close()
	return &b
}

func TestUnpackRefuses(t *testing.T) {
	reg := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
	link := func(name, target string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
	}
	outside := tree(t, "victim", "dir/")
	for name, archive := range map[string]*bytes.Buffer{
		"a name that climbs":           entries(t, reg("d/../../victim")),
		"a name that was not asked":    entries(t, reg("other")),
		"an absolute name":             entries(t, reg("/d/x")),
		"through a link outside":       entries(t, link("d/l", outside), reg("d/l/dir/x")),
		"through a link that climbs":   entries(t, link("d/l", "../.."), reg("d/l/x")),
		"a hard link outside":          entries(t, tar.Header{Typeflag: tar.TypeLink, Name: "d/h", Linkname: "d/../../victim"}),
		"a hard link by a link":        entries(t, link("d/l", outside), tar.Header{Typeflag: tar.TypeLink, Name: "d/h", Linkname: "d/l/victim"}),
		"a directory over a file":      entries(t, tar.Header{Typeflag: tar.TypeDir, Name: "d/file/"}),
		"a file over a directory":      entries(t, reg("d/folder")),
		"a directory over a link":      entries(t, tar.Header{Typeflag: tar.TypeDir, Name: "d/out/"}),
		"into a link that leads out":   entries(t, reg("d/out/dir/x")),
		"a kind that no one knows":     entries(t, tar.Header{Typeflag: 'V', Name: "d/v"}),
		"what ends in the middle":      bytes.NewBuffer(entries(t, reg("d/x")).Bytes()[:514]),
		"what is no archive of a file": bytes.NewBufferString(strings.Repeat("no", 512)),
	} {
		to := tree(t, "in/", "in/file", "in/folder/", "in/out->"+outside)
		if err := Unpack(archive, to, "d", "in"); err == nil {
			t.Errorf("%s: unpacked: %s", name, list(t, to))
		}
		if got := list(t, outside); got != "dir/ victim" {
			t.Fatalf("%s: outside is %s", name, got)
		}
	}
	text, err := os.ReadFile(outside + "/victim")
	if err != nil || string(text) != "victim" {
		t.Errorf("%q %v", text, err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(entries(f, tar.Header{Typeflag: tar.TypeDir, Name: "d/"}, tar.Header{Typeflag: tar.TypeSymlink, Name: "d/l", Linkname: "/"}, tar.Header{Typeflag: tar.TypeReg, Name: "d/l/x"}).Bytes())
	f.Add(entries(f, tar.Header{Typeflag: tar.TypeReg, Name: "d/../../x"}).Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		top := t.TempDir()
		if err := os.Mkdir(top+"/in", 0o700); err != nil {
			t.Fatal(err)
		}
		_ = Unpack(bytes.NewReader(data), top+"/in", "d", ".") // whatever it says, it stays inside
		if names, err := os.ReadDir(top); err != nil || len(names) != 1 {
			t.Errorf("%v %v", names, err)
		}
	})
}

func TestTarget(t *testing.T) {
	top := tree(t, "d/", "f", "to->new", "tod->d", "far->no/such", "loop->loop")
	for name, want := range map[string]Node{
		"f": {"f", true, false}, "d": {"d", true, true}, "to": {"new", false, false}, "tod": {"d", true, true}, "new": {"new", false, false},
	} {
		got, err := Target(filepath.Join(top, name))
		if want.Path = filepath.Join(top, want.Path); got != want || err != nil {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	for _, name := range []string{"far", "loop", "f/x", "no/x"} {
		if got, err := Target(filepath.Join(top, name)); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
