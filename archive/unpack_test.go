package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/sys"
)

func TestUnpack(t *testing.T) {
	needRoot(t)
	device := func(name string, kind byte, major, minor int64) item {
		return item{Header: tar.Header{Typeflag: kind, Name: name, Mode: 0o660, Devmajor: major, Devminor: minor}}
	}
	mode := func(i item, mode int64, uid, gid int) item {
		return i.with(func(h *tar.Header) { h.Mode, h.Uid, h.Gid = mode, uid, gid })
	}
	tests := []struct {
		name  string
		items []item
		want  []string
	}{
		{"opaque marker last", []item{dir("a", 0o755), dir("a/new", 0o755), file("a/new/y", "2"), file("a/.wh..wh..opq", "")},
			[]string{"D755 a", "d755 a/new", "f644 a/new/y=2"}},
		{"opaque marker first", []item{file("a/.wh..wh..opq", ""), dir("a", 0o700), file("a/y", "2")},
			[]string{"D700 a", "f644 a/y=2"}},
		{"whiteouts hide only what is below", []item{dir("d", 0o755), file("d/x", "new"), file("d/.wh.x", ""), file("d/.wh.k", ""), file("d/.wh.z", ""), file("d/z", "late")},
			[]string{"d755 d", "w d/k", "f644 d/x=new", "f644 d/z=late"}},
		{"whiteout of a directory that comes too", []item{file(".wh.d", ""), file("d/x", "1"), file("e/x", "1"), file(".wh.e", "")},
			[]string{"D755 d", "f644 d/x=1", "D755 e", "f644 e/x=1"}},
		{"whiteout in overlayfs' form", []item{device("gone", tar.TypeChar, 0, 0)}, []string{"w gone"}},
		{"links are followed inside the root", []item{symlink("foo", "/"), file("foo/tmp/brk", "A"), symlink("up", "../../../../../.."), file("up/tmp/brk2", "B")},
			[]string{"l foo->/", "d755 tmp", "f644 tmp/brk=A", "f644 tmp/brk2=B", "l up->../../../../../.."}},
		{"a dangling link's target is made", []item{symlink("foo", "/no/such"), file("foo/x", "1")},
			[]string{"l foo->/no/such", "d755 no", "d755 no/such", "f644 no/such/x=1"}},
		{"a link chain", []item{dir("d", 0o755), symlink("d/a", "../b"), symlink("b", "c"), symlink("c", "/d"), file("d/a/x", "1")},
			[]string{"l b->c", "l c->/d", "d755 d", "l d/a->../b", "f644 d/x=1"}},
		{"hard links", []item{dir("q", 0o755), file("q/p", "in"), hard("l1", "/q/p"), hard("l2", "../../../../q/p"), symlink("via", "../../q"), hard("l3", "via/p"), hard("q/p", "q/p"), hard("l1", "q/p")},
			[]string{"f644 l1=in", "f644 l2=in", "f644 l3=in", "d755 q", "f644 q/p=in", "l via->../../q"}},
		{"hard link to a link", []item{symlink("s", "x"), hard("t", "s")}, []string{"l s->x", "l t->x"}},
		{"the later entry wins", []item{file("a", "1"), file("a", "2"), symlink("a", "x"), dir("a", 0o755), file("a/b", "3"), file("a", "4")},
			[]string{"f644 a=4"}},
		{"a directory in place of a file hides what is below", []item{file("a", "1"), dir("a", 0o711), file("a/b", "3")},
			[]string{"D711 a", "f644 a/b=3"}},
		{"a directory in place of a link", []item{dir("y", 0o755), symlink("l", "y"), dir("l", 0o755), file("l/w", "1")},
			[]string{"D755 l", "f644 l/w=1", "d755 y"}},
		{"a directory listed twice keeps its content", []item{dir("a", 0o700), file("a/b", "1"), dir("a", 0o755)},
			[]string{"d755 a", "f644 a/b=1"}},
		{"modes and owners", []item{dir("o", 0o755), mode(file("o/su", "1"), 0o4755, 1000, 0), mode(file("o/sg", "1"), 0o2750, 0, 7), dir("st", 0o1777), mode(dir("sg", 0o755), 0o2775, 3, 4), file("sg/f", ""), dir("none", 0), file("none/f", "")},
			[]string{"d755 o", "f2750 0:7 o/sg=1", "f4755 1000:0 o/su=1", "d2775 3:4 sg", "f644 sg/f=", "d1777 st", "d0 none", "f644 none/f="}},
		{"devices and a fifo", []item{device("null", tar.TypeChar, 1, 3), device("disk", tar.TypeBlock, 259, 70000), mode(device("pipe", tar.TypeFifo, 0, 0), 0o622, 5, 6)},
			[]string{"b660 disk 259:70000", "c660 null 1:3", "p622 5:6 pipe"}},
		{"names with dots and slashes", []item{dir("./", 0o755), file("./a//b/./c", "1"), file("/abs", "2"), file("a/../up", "3"), dir("a/b/..", 0o700), dir("a/b/.", 0o711)},
			[]string{"d700 a", "d711 a/b", "f644 a/b/c=1", "f644 abs=2", "f644 up=3"}},
		{"names that are no text", []item{file("\xff\xfe", "1"), file("new\nline", "2"), file(" ", "3")},
			[]string{"f644  =3", "f644 new\nline=2", "f644 \xff\xfe=1"}},
		{"a global header changes nothing", []item{{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, Format: tar.FormatPAX, PAXRecords: map[string]string{"path": "evil", "comment": "x"}}}, file("a", "1")},
			[]string{"f644 a=1"}},
		{"what AUFS left behind", []item{dir(".wh..wh.plnk", 0o700), file(".wh..wh.plnk/1.2", "in"), file(".wh..wh.aufs", ""), hard("a", ".wh..wh.plnk/1.2")},
			[]string{"f644 a=in"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := openFiles(t)
			root, _ := layerOf(t, tt.items...)
			slices.Sort(tt.want)
			got := listing(t, root)
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("tree is\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(tt.want, "\n\t"))
			}
			if after := openFiles(t) - 1; after > before { // the root itself is closed with the test
				t.Errorf("%d open files became %d", before, after)
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	needRoot(t)
	deep := strings.Repeat("d/", 2500) + "x"
	tests := map[string][]item{
		"whiteout of the directory itself": {file(".wh..", "")},
		"whiteout of the parent":           {file("etc/.wh...", "")},
		"whiteout of nothing":              {file("etc/.wh.", "")},
		"whiteout as a directory":          {file(".wh.a/b", "")},
		"whiteout of a whiteout":           {file("a/.wh..wh.x", "")},
		"file taken for a directory":       {file("a", ""), file("a/b", "")},
		"link loop":                        {symlink("a", "b"), symlink("b", "a"), file("a/x", "")},
		"name too long":                    {file(strings.Repeat("n", 256), "")},
		"path too long":                    {file(deep, "")},
		"path too long through a link":     {symlink("l", "."), dir(strings.Repeat("d/", 1500), 0o755), symlink("m", strings.Repeat("d/", 1500)), file("m/"+strings.Repeat("e/", 1500)+"x", "")},
		"hard link to a directory":         {dir("a", 0o755), hard("b", "a")},
		"hard link over its own directory": {dir("a", 0o755), file("a/f", ""), hard("a", "a/f")},
		"file in place of the root":        {file("./.", "")},
		"symlink without target":           {symlink("a", "").with(func(h *tar.Header) { h.Linkname = "" })},
		"owner that means no change":       {file("a", "").with(func(h *tar.Header) { h.Uid = 1<<32 - 1 })},
	}
	for name, items := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := unpackInto(t, t.TempDir(), pack(t, items...), Options{Whiteouts: true})
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestUnpackUnderUmask(t *testing.T) {
	needRoot(t)
	for _, mask := range []string{"0077", "0022", "0000"} {
		out := t.TempDir()
		runSelf(t, "umask "+mask, out)
		expect(t, out, "d755 o", "f2750 0:7 o/sg=1", "f4755 1000:0 o/su=1", "d1777 st", "f666 w=", "d755 x", "f666 x/y=")
	}
}

func TestUnpackTimes(t *testing.T) {
	needRoot(t)
	old := time.Unix(1000000000, 123456789)
	at := func(i item) item {
		return i.with(func(h *tar.Header) { h.ModTime, h.Format = old, tar.FormatPAX })
	}
	root, _ := layerOf(t, at(dir("u", 0o755)), at(file("u/a", "1")), at(symlink("u/l", "x")), file("u/sub/b", "2"),
		at(file("early", "")).with(func(h *tar.Header) { h.ModTime = time.Unix(-5, 250000000) }))
	for _, name := range []string{"u", "u/a", "u/l"} {
		fi, err := os.Lstat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if !fi.ModTime().Equal(old) {
			t.Errorf("%s is of %v, want %v", name, fi.ModTime(), old)
		}
	}
	fi, err := os.Stat(filepath.Join(root, "early"))
	if err != nil || !fi.ModTime().Equal(time.Unix(-5, 250000000)) {
		t.Errorf("a time before 1970: %v %v", fi.ModTime(), err)
	}
}

func TestUnpackAttributes(t *testing.T) {
	needRoot(t)
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	with := func(i item, name, value string) item {
		return i.with(func(h *tar.Header) { h.PAXRecords = map[string]string{"SCHILY.xattr." + name: value} })
	}
	root, report := layerOf(t,
		with(file("ping", "x").with(func(h *tar.Header) { h.Uid = 7 }), "security.capability", capability),
		with(dir("d", 0o755), "user.note", "a\x00b\n"), with(symlink("l", "x"), "trusted.t", "1"), with(symlink("m", "x"), "user.t", "1"),
		with(dir("o", 0o755), "trusted.overlay.opaque", "y"))
	fd := sys.Borrow(openDir(t, root))
	for _, x := range [][3]string{{"ping", "security.capability", capability}, {"d", "user.note", "a\x00b\n"}, {"l", "trusted.t", "1"}, {"o", "trusted.overlay.overlay.opaque", "y"}, {"o", "trusted.overlay.opaque", ""}} {
		if got, err := sys.GetXattrAt(fd, x[0], x[1]); err != nil || string(got) != x[2] {
			t.Errorf("%s %s is %q %v, want %q", x[0], x[1], got, err, x[2])
		}
	}
	if !slices.Equal(report.NoAttr, []string{"m"}) {
		t.Errorf("attributes that have no place: %v", report.NoAttr)
	}
}

func TestUnpackReport(t *testing.T) {
	needRoot(t)
	_, report := layerOf(t, dir("t", 0o755), file("t/n/x", "123"), file("u/v/y", ""), hard("h", "lib/gone"), file("o/.wh..wh..opq", ""), file("o/p/q", ""),
		file(".wh.z", ""), file("z/a/b", ""), hard("h2", "t/none"))
	if want := []string{"", "o", "t/n", "u", "u/v"}; !slices.Equal(report.Implied, want) {
		t.Errorf("implied %q, want %q", report.Implied, want)
	}
	if want := []Link{{"h", "lib/gone"}, {"h2", "t/none"}}; !slices.Equal(report.Missing, want) {
		t.Errorf("missing %v, want %v", report.Missing, want)
	}
}

func TestUnpackBelow(t *testing.T) {
	needRoot(t)
	base, _ := layerOf(t, dir("usr", 0o711).with(func(h *tar.Header) { h.Uid = 5 }), dir("usr/lib", 0o751), file("usr/lib/a", "A"), symlink("lib", "usr/lib"),
		dir("w", 0o700), file("w/f", "F"))
	top := t.TempDir()
	_, err := unpackInto(t, top, pack(t, file("lib/new", "N"), hard("h", "lib/a"), hard("lib/k", "/usr/lib/a"), file("w/.wh..wh..opq", ""), file("w/x/y", "")),
		Options{Whiteouts: true, Below: openDir(t, base)})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, top, "f644 h=A", "d711 5:0 usr", "d751 usr/lib", "f644 usr/lib/a=A", "f644 usr/lib/k=A", "f644 usr/lib/new=N", "D700 w", "d755 w/x", "f644 w/x/y=")
	if links := linksOf(t, filepath.Join(top, "h")); links != 3 {
		t.Errorf("%d links, want 3", links)
	}
	moved := t.TempDir()
	if _, err = unpackInto(t, moved, pack(t, hard("h", "lib/a"), file("lib/.wh.a", "")), Options{Whiteouts: true, Below: openDir(t, base)}); err != nil {
		t.Fatal(err)
	}
	expect(t, moved, "f644 h=A", "d711 5:0 usr", "d751 usr/lib", "w usr/lib/a")
	for _, target := range []string{"lib/none", "w/f", "lib/a"} {
		_, err = unpackInto(t, t.TempDir(), pack(t, file("w/.wh..wh..opq", ""), file("usr/lib/.wh.a", ""), hard("h", target)), Options{Whiteouts: true, Below: openDir(t, base)})
		if !errdefs.IsInvalidArgument(err) {
			t.Errorf("hard link to %s: %v", target, err)
		}
	}
	for name, wrong := range map[string]bool{"lib/none": true, "lib/a": false} { // links to themselves
		_, err = unpackInto(t, t.TempDir(), pack(t, hard(name, name)), Options{Whiteouts: true, Below: openDir(t, base)})
		if errdefs.IsInvalidArgument(err) != wrong || !wrong && err != nil {
			t.Errorf("hard link of %s to itself: %v", name, err)
		}
	}
}

func TestUnpackKeepTypes(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	if _, err := unpackInto(t, root, pack(t, dir("d", 0o755), file("d/x", "1"), file("f", "1"), symlink("l", "d")), Options{}); err != nil {
		t.Fatal(err)
	}
	for _, i := range []item{file("d", "2"), symlink("d", "x"), dir("f", 0o755), dir("l", 0o755)} {
		_, err := unpackInto(t, root, pack(t, i), Options{KeepTypes: true})
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(fmt.Sprint(err), "cannot overwrite") {
			t.Errorf("%s: %v", i.Name, err)
		}
	}
	own := &Owner{3, 4}
	if _, err := unpackInto(t, root, pack(t, file("l/y", "3"), file("f", "9"), dir("d", 0o700)), Options{KeepTypes: true, Owner: own}); err != nil {
		t.Fatal(err)
	}
	expect(t, root, "d700 3:4 d", "f644 d/x=1", "f644 3:4 d/y=3", "f644 3:4 f=9", "l l->d")
	if _, err := unpackInto(t, root, pack(t, file("d", "x"), hard("g", "d")), Options{}); err != nil {
		t.Fatal(err)
	}
	expect(t, root, "f644 d=x", "f644 3:4 f=9", "f644 g=x", "l l->d")
}

func TestUnpackTruncated(t *testing.T) {
	needRoot(t)
	whole := pack(t, dir("a", 0o755), file("a/b", strings.Repeat("x", 3000)), file(strings.Repeat("long/", 40)+"x", ""))
	for n := 1; n < len(whole)-1024; n += 97 {
		_, err := unpackInto(t, t.TempDir(), whole[:n], Options{})
		if n%512 != 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d of %d: %v", n, len(whole), err)
		}
	}
	for _, garbage := range [][]byte{bytes.Repeat([]byte("garbage "), 100), append(bytes.Repeat([]byte{0}, 512), whole...)} {
		if _, err := unpackInto(t, t.TempDir(), garbage, Options{}); !errdefs.IsInvalidArgument(err) || !strings.Contains(fmt.Sprint(err), "invalid tar header") {
			t.Errorf("garbage: %v", err)
		}
	}
}

func TestUnpackLimits(t *testing.T) {
	needRoot(t)
	data := pack(t, file("a", "12345"), file("b", "12345"))
	for _, o := range []Options{{MaxBytes: 9}, {MaxEntries: 1}} {
		if _, err := unpackInto(t, t.TempDir(), data, o); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := unpackInto(t, t.TempDir(), data, Options{MaxBytes: 10, MaxEntries: 2}); err != nil {
		t.Error(err)
	}
	// Few entries may mean many directories, and each of those a long name.
	deep := pack(t, file("x/"+strings.Repeat("d/", 1500)+"f", ""), file("y/"+strings.Repeat("d/", 1500)+"f", ""), file("z", ""))
	if _, err := unpackInto(t, t.TempDir(), deep, Options{MaxEntries: 3000}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("implied directories: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Unpack(ctx, openDir(t, t.TempDir()), bytes.NewReader(data), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
