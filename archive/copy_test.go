package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cove-containers/cove/sys"
)

// sample is a tree with one of everything.
func sample(t testing.TB) string {
	t.Helper()
	old := time.Unix(1234567890, 0)
	root, _ := layerOf(t,
		dir("./", 0o751).with(func(h *tar.Header) { h.Uid, h.Gid = 1, 2 }),
		dir("d", 0o1777).with(func(h *tar.Header) { h.ModTime = old }), file("d/f", "content"),
		file("su", "x").with(func(h *tar.Header) {
			h.Mode, h.Uid, h.ModTime = 0o4755, 5, old
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.note": "a\x00b", "SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
		}),
		symlink("d/l", "/abs/../x"), symlink("loop", "."), hard("d/second", "su"), hard("l2", "d/l"),
		item{Header: tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3, Mode: 0o666}},
		item{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o600}},
		file("\xff"+strings.Repeat("n", 200), "long"), dir("empty", 0o700))
	f, err := os.Create(filepath.Join(root, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("end"), 8<<20); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(root, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return root
}

// same compares two trees in all that a copy must keep; sockets are left out.
func same(t *testing.T, got, want string) {
	t.Helper()
	wanted := slices.DeleteFunc(listing(t, want), func(s string) bool { return strings.HasSuffix(s, " sock 0:0") })
	if lines := listing(t, got); !slices.Equal(lines, wanted) {
		t.Errorf("tree is\n\t%s\nwant\n\t%s", strings.Join(lines, "\n\t"), strings.Join(wanted, "\n\t"))
	}
	for _, name := range []string{"d", "su"} {
		a, err := ReadAttributes(openDir(t, got), name)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := ReadAttributes(openDir(t, want), name)
		sortXattrs := func(x, y xattr) int { return strings.Compare(x.name, y.name) }
		slices.SortFunc(a.xattrs, sortXattrs)
		slices.SortFunc(b.xattrs, sortXattrs)
		if a.mtime != b.mtime || !slices.EqualFunc(a.xattrs, b.xattrs, func(x, y xattr) bool { return x.name == y.name && bytes.Equal(x.value, y.value) }) {
			t.Errorf("%s is %+v, want %+v", name, a, b)
		}
	}
	if n := linksOf(t, filepath.Join(got, "su")); n != 2 {
		t.Errorf("su has %d names, want 2", n)
	}
}

func TestCopyTree(t *testing.T) {
	needRoot(t)
	src, dst := sample(t), t.TempDir()
	before := openFiles(t)
	from, to := openDir(t, src), openDir(t, dst)
	if err := CopyTree(context.Background(), to, from, CopyOptions{Root: true}); err != nil {
		t.Fatal(err)
	}
	if n := openFiles(t); n != before+2 {
		t.Errorf("%d open files became %d", before, n)
	}
	same(t, dst, src)
	if got := describe(t, filepath.Dir(dst), filepath.Base(dst)); !strings.HasPrefix(got, "d751 1:2 ") {
		t.Errorf("root is %s", got)
	}
	st, err := sys.StatAt(sys.Borrow(to), "holes")
	if err != nil || st.Blocks > 64 {
		t.Errorf("%d blocks, the hole was filled: %v", st.Blocks, err)
	}
	if err := CopyTree(context.Background(), to, from, CopyOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := CopyTree(ctx, to, from, CopyOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestPackRoundTrip(t *testing.T) {
	needRoot(t)
	src := sample(t)
	var first, second bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &second} {
		if err := Pack(context.Background(), b, openDir(t, src), PackOptions{Fraction: true}); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same tree gave two archives")
	}
	dst := t.TempDir()
	if _, err := unpackInto(t, dst, first.Bytes(), Options{}); err != nil {
		t.Fatal(err)
	}
	same(t, dst, src)
}

// remover removes what it is told to once the header of a name has been written.
type remover struct {
	bytes.Buffer
	name, path string
}

func (r *remover) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, []byte(r.name+"\x00")) {
		if err := os.RemoveAll(r.path); err != nil {
			return 0, err
		}
	}
	return r.Buffer.Write(p)
}

// TestPackWhileRemoved packs a tree of which things are removed just when it is their turn: the others are packed.
func TestPackWhileRemoved(t *testing.T) {
	for _, test := range []struct{ name, gone, want string }{
		{"a/", "a", "a/ b l z"}, // the directory is open by then
		{"a/", "b", "a/ a/f l z"},
		{"b", "l", "a/ a/f b z"},
	} {
		src := t.TempDir()
		err := errors.Join(os.Mkdir(filepath.Join(src, "a"), 0o755), os.WriteFile(filepath.Join(src, "a/f"), nil, 0o644), os.WriteFile(filepath.Join(src, "b"), nil, 0o644),
			os.Symlink("b", filepath.Join(src, "l")), os.WriteFile(filepath.Join(src, "z"), nil, 0o644))
		if err != nil {
			t.Fatal(err)
		}
		w := &remover{name: test.name, path: filepath.Join(src, test.gone)}
		if err := Pack(context.Background(), w, openDir(t, src), PackOptions{}); err != nil {
			t.Errorf("%s removed at %s: %v", test.gone, test.name, err)
		}
		if got := names(t, w.Bytes()); got != test.want {
			t.Errorf("%s removed at %s: packed %s, want %s", test.gone, test.name, got, test.want)
		}
	}
}

func TestPackLayer(t *testing.T) {
	needRoot(t)
	src, _ := layerOf(t, dir("a", 0o755), file("a/.wh..wh..opq", ""), file("a/x", "1"), file(".wh.gone", ""), file("b/.wh.c", ""), file("b/skip/y", ""))
	var b bytes.Buffer
	skip := func(name string) bool { return name == "b/skip" }
	if err := Pack(context.Background(), &b, openDir(t, src), PackOptions{Whiteouts: true, Skip: skip}); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, b.Bytes()), "a/ a/.wh..wh..opq a/x b/ b/.wh.c .wh.gone"; got != want {
		t.Errorf("packed %s, want %s", got, want)
	}
	dst := t.TempDir()
	if _, err := unpackInto(t, dst, b.Bytes(), Options{Whiteouts: true}); err != nil {
		t.Fatal(err)
	}
	expect(t, dst, "D755 a", "f644 a/x=1", "d755 b", "w b/c", "w gone")
	b.Reset()
	if err := Pack(context.Background(), &b, openDir(t, src), PackOptions{}, "/a/x", "b"); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, b.Bytes()), "a/x b/ b/skip/ b/skip/y"; got != want {
		t.Errorf("packed %s, want %s", got, want)
	}
	for _, bad := range []string{"/", "..", "nosuch/x", "nosuch", "b/nosuch"} {
		if err := Pack(context.Background(), &b, openDir(t, src), PackOptions{}, bad); err == nil {
			t.Errorf("%q was packed", bad)
		}
	}
}

func names(t *testing.T, data []byte) string {
	t.Helper()
	var all []string
	for r := newTarReader(bytes.NewReader(data)); ; {
		h, err := r.next()
		if err != nil {
			return strings.Join(all, " ")
		}
		all = append(all, h.name)
	}
}
