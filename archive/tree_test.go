package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cove-containers/cove/sys"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, devices and trusted attributes")
	}
}

// item is an entry of a crafted archive.
type item struct {
	tar.Header
	body string
}

func dir(name string, mode int64) item {
	return item{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}}
}

func file(name, body string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, body: body}
}

func symlink(name, target string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}}
}

func hard(name, target string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}}
}

func (i item) with(change func(h *tar.Header)) item {
	change(&i.Header)
	return i
}

// pack writes items as they are, in their order.
func pack(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := i.Header
		if h.Typeflag == tar.TypeXGlobalHeader {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			continue
		}
		h.Size = int64(len(i.body))
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(1500000000, 0)
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(i.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func openDir(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func unpackInto(t testing.TB, path string, data []byte, o Options) (Report, error) {
	t.Helper()
	return Unpack(context.Background(), openDir(t, path), bytes.NewReader(data), o)
}

func layerOf(t testing.TB, items ...item) (string, Report) {
	t.Helper()
	path := t.TempDir()
	report, err := unpackInto(t, path, pack(t, items...), Options{Whiteouts: true})
	if err != nil {
		t.Fatal(err)
	}
	return path, report
}

// listing shows a tree, a line for each file: kind, mode, owner unless root's, name, content; "w" is a whiteout, "D" an opaque directory.
func listing(t testing.TB, root string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if name != "." {
			lines = append(lines, describe(t, root, name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func describe(t testing.TB, root, name string) string {
	t.Helper()
	path := filepath.Join(root, name)
	f := openDir(t, filepath.Dir(path))
	defer f.Close()
	st, err := sys.StatAt(sys.Borrow(f), filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	owner := ""
	if st.UID != 0 || st.GID != 0 {
		owner = fmt.Sprintf(" %d:%d", st.UID, st.GID)
	}
	line := func(kind, tail string) string {
		return fmt.Sprintf("%s%o%s %s%s", kind, st.Mode&0o7777, owner, name, tail)
	}
	switch st.Kind() {
	case sys.KindDir:
		if v, _ := sys.GetXattrAt(sys.Borrow(f), filepath.Base(path), opaqueAttribute); string(v) == "y" {
			return line("D", "")
		}
		return line("d", "")
	case sys.KindFile:
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return line("f", "="+string(body))
	case sys.KindSymlink:
		target, _ := os.Readlink(path)
		return "l " + name + "->" + target
	case sys.KindFifo:
		return line("p", "")
	}
	if st.Whiteout() {
		return "w " + name
	}
	major, minor := sys.DeviceNumbers(st.Rdev)
	return line(map[uint32]string{sys.KindChar: "c", sys.KindBlock: "b"}[st.Kind()], fmt.Sprintf(" %d:%d", major, minor))
}

func expect(t testing.TB, root string, want ...string) {
	t.Helper()
	if got := listing(t, root); !slices.Equal(got, want) {
		t.Errorf("tree is\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return len(entries)
}
