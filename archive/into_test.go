package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// outer is a tree with a folder "var/w" for archives, whose links lead out of it.
func outer(t *testing.T) string {
	t.Helper()
	path, _ := layerOf(t, dir("etc", 0o755), dir("var/w", 0o750).with(func(h *tar.Header) { h.Uid = 7 }),
		symlink("var/w/abs", "/etc"), symlink("var/w/up", "../../etc"), symlink("at", "/var/w"), symlink("loop", "loop"), file("plain", ""))
	return path
}

func TestUnpackInto(t *testing.T) {
	needRoot(t)
	items := []item{dir("./", 0o700), file("./f", "1"), file("/g", "2"), file("abs/a", "3"), file("up/u", "4"), file("n/../h", "5"), hard("k", "/f"), symlink("out", "../../../x")}
	for _, into := range []string{"var/w", "/var/w/", "at", "/at/."} {
		root := outer(t)
		if _, err := unpackInto(t, root, pack(t, items...), Options{Into: into, KeepTypes: true}); err != nil {
			t.Fatalf("%s: %v", into, err)
		}
		expect(t, root, "l at->/var/w", "d755 etc", "f644 etc/a=3", "f644 etc/u=4", "l loop->loop", "f644 plain=", "d755 var",
			"d750 7:0 var/w", "l var/w/abs->/etc", "f644 var/w/f=1", "f644 var/w/g=2", "f644 var/w/h=5", "f644 var/w/k=1", "l var/w/out->../../../x", "l var/w/up->../../etc")
	}
}

func TestUnpackIntoRefuses(t *testing.T) {
	needRoot(t)
	for name, tt := range map[string]struct {
		into string
		item item
		says string
	}{
		"name that leads out":      {"var/w", file("../x", ""), "is outside of"},
		"by a way round":           {"var/w", file("a/../../x", ""), "is outside of"},
		"hard link to the outside": {"var/w", hard("x", "../../plain"), "is outside of"},
		"into a file":              {"plain", file("x", ""), "not a directory"},
		"into a loop":              {"loop", file("x", ""), "too many levels"},
		"directory over a link":    {"var/w", dir("abs", 0o755), "cannot overwrite non-directory"},
	} {
		root := outer(t)
		before := strings.Join(listing(t, root), "\n")
		_, err := unpackInto(t, root, pack(t, tt.item), Options{Into: tt.into, KeepTypes: true})
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
		if after := strings.Join(listing(t, root), "\n"); after != before {
			t.Errorf("%s: tree is\n%s", name, after)
		}
	}
	if _, err := unpackInto(t, outer(t), pack(t, file("x", "")), Options{Into: "no/such"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into nothing: %v", err)
	}
}

func TestPackBase(t *testing.T) {
	needRoot(t)
	src, _ := layerOf(t, dir("./", 0o700), file("a", "1"), hard("b", "a"), file("d/x", "1"))
	for base, want := range map[string]string{"name": "name/ name/a name/b name/d/ name/d/x", ".": "./ ./a ./b ./d/ ./d/x", "/": "/ /a /b /d/ /d/x"} {
		var b bytes.Buffer
		if err := Pack(context.Background(), &b, openDir(t, src), PackOptions{Base: base}); err != nil {
			t.Fatal(err)
		}
		if got := names(t, b.Bytes()); got != want {
			t.Errorf("packed %s, want %s", got, want)
		}
		r := tar.NewReader(&b)
		if h, err := r.Next(); err != nil || h.Mode != 0o700 || h.Typeflag != tar.TypeDir {
			t.Errorf("%s: %+v %v", base, h, err)
		}
		r.Next()
		if h, err := r.Next(); err != nil || h.Linkname != strings.TrimSuffix(base, "/")+"/a" {
			t.Errorf("%s: %+v %v", base, h, err)
		}
	}
}

func TestNumbers(t *testing.T) {
	needRoot(t)
	root := outer(t)
	in := func(uid, gid int) (int, int, error) {
		if uid > 9 {
			return 0, 0, errors.New("nobody")
		}
		return uid + 100, gid + 200, nil
	}
	mine := file("f", "1").with(func(h *tar.Header) { h.Uid, h.Gid = 3, 4 })
	if _, err := unpackInto(t, root, pack(t, mine, hard("g", "f")), Options{Into: "var/w", KeepTypes: true, Numbers: in}); err != nil {
		t.Fatal(err)
	}
	expect(t, root, "l at->/var/w", "d755 etc", "l loop->loop", "f644 plain=", "d755 var", "d750 7:0 var/w", "l var/w/abs->/etc", "f644 103:204 var/w/f=1", "f644 103:204 var/w/g=1", "l var/w/up->../../etc")
	if _, err := unpackInto(t, root, pack(t, file("f", "1").with(func(h *tar.Header) { h.Uid = 10 })), Options{Numbers: in}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("an owner who has no number: %v", err)
	}
	dir, err := os.Open(filepath.Join(root, "var/w"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var packed bytes.Buffer
	out := func(uid, gid int) (int, int, error) { return uid - 100, gid - 200, nil }
	if err := Pack(context.Background(), &packed, dir, PackOptions{Numbers: out}, "f", "g"); err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(&packed)
	for range 2 {
		if h, err := r.Next(); err != nil || h.Uid != 3 || h.Gid != 4 {
			t.Errorf("packed %+v, %v", h, err)
		}
	}
}
