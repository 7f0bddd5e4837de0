package sys

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openTest(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestOpenInRoot(t *testing.T) {
	outer := t.TempDir()
	root := filepath.Join(outer, "root")
	for path, target := range map[string]string{"abs": "/d/f", "up": "../../../d", "out": outer, "proc": "/proc/self/root"} {
		if err := os.MkdirAll(filepath.Join(root, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(root, path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "d/f"), []byte("in"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := openTest(t, root)
	for path, ok := range map[string]bool{"abs": true, "/up/f": true, "../../d/f": true, "out": false, "out/root/d/f": false, "": true, "/": true, "/proc/self/root": false} {
		f, err := OpenInRoot(dir, path, os.O_RDONLY, 0)
		if (err == nil) != ok {
			t.Errorf("open %q: %v", path, err)
		}
		if err == nil {
			f.Close()
		}
	}
	f, err := OpenInRoot(dir, "up/new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := os.Stat(filepath.Join(root, "d/new")); err != nil {
		t.Error(err)
	}
	link, err := OpenPathInRoot(dir, "abs", false)
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	if st, err := StatAt(Borrow(link), ""); err != nil || st.Kind() != KindSymlink {
		t.Errorf("%o %v", st.Mode, err)
	}
	if _, err := OpenDirBelow(Borrow(dir), "up"); !IsNotDir(err) {
		t.Errorf("a link was followed: %v", err)
	}
}

func TestRemoveTreeAt(t *testing.T) {
	top := t.TempDir()
	dir := Borrow(openTest(t, top))
	if err := os.WriteFile(filepath.Join(top, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAt(dir, "x", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := SymlinkAt("../kept", Borrow(openTest(t, filepath.Join(top, "x"))), "link"); err != nil {
		t.Fatal(err)
	}
	at, err := OpenDirAt(dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 { // deeper than a path name or the descriptors reach
		for _, name := range []string{"d", ".1"} {
			if err := MkdirAt(at, name, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		next, err := OpenDirAt(at, "d")
		if err != nil {
			t.Fatal(err)
		}
		at.Close()
		at = next
	}
	at.Close()
	for range 2 {
		if err := RemoveTreeAt(dir, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if entries, _ := os.ReadDir(top); len(entries) != 1 {
		t.Errorf("%v left", entries)
	}
}

// TestRemoveTreeAtMounts: what is mounted in a tree is not emptied when the tree is removed.
func TestRemoveTreeAtMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	top := t.TempDir()
	dir := openTest(t, top)
	for _, name := range []string{"own/tree", "mounted"} {
		if err := os.MkdirAll(filepath.Join(top, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	kept := filepath.Join(top, "mounted/kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := CopyMount(WorkingDir, filepath.Join(top, "mounted"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	err = WithPrivateMount(source, filepath.Join(top, "own/tree"), func() error {
		for _, name := range []string{"own", "own/tree"} {
			parent, err := os.Open(filepath.Dir(filepath.Join(top, name)))
			if err != nil {
				return err
			}
			defer parent.Close()
			if err := RemoveTreeAt(Borrow(parent), filepath.Base(name)); !IsMountPoint(err) {
				t.Errorf("%s with a mount: %v", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("what was mounted was emptied: %v", err)
	}
	if err := RemoveTreeAt(Borrow(dir), "own"); err != nil {
		t.Errorf("without the mount: %v", err)
	}
}

func TestCopyContent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "src")
	want := make([]byte, 3<<20)
	copy(want[100:], "start")
	copy(want[2<<20:], "middle")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at, text := range map[int64]string{100: "start", 2 << 20: "middle"} {
		if _, err := f.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(int64(len(want))); err != nil {
		t.Fatal(err)
	}
	out, err := CreateAt(Borrow(openTest(t, dir)), "dst", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := CopyContent(out, Borrow(f), int64(len(want))); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "dst"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes differ: %v", len(got), err)
	}
	if st, err := StatAt(out, ""); err != nil || st.Blocks > 64 {
		t.Errorf("%d blocks: %v", st.Blocks, err)
	}
}

func TestMountOverlay(t *testing.T) { testMountOverlay(t, MountOverlay) }

// TestMountOverlayAtOnce mounts as on kernels before 6.7.
func TestMountOverlayAtOnce(t *testing.T) {
	mount := func(lower []string, upper, work string, flags ...string) (*os.File, error) {
		return mountOverlayAtOnce(lower, upper, work, flags)
	}
	testMountOverlay(t, mount)
	// As a container's root is mounted: on a thread that has a mount namespace already.
	testMountOverlay(t, func(lower []string, upper, work string, flags ...string) (m *os.File, err error) {
		err = WithPrivateMount(nil, "", func() error {
			before, err := ownMountNamespace()
			if err != nil || !before {
				return fmt.Errorf("the thread sees the process's mounts: %v", err)
			}
			m, err = mount(lower, upper, work, flags...)
			return err
		})
		return m, err
	})
}

func testMountOverlay(t *testing.T, mount func(lower []string, upper, work string, flags ...string) (*os.File, error)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts overlayfs")
	}
	dir := t.TempDir()
	for _, name := range []string{"low", "high", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "f"), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	root, err := mount([]string{in("high"), in("low")}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenInRoot(root, "new", os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
		t.Error("wrote without an upper directory")
	}
	root.Close()
	os.Remove(in("upper/f"))
	if root, err = mount([]string{in("high"), in("low")}, in("upper"), in("work")); err != nil {
		t.Fatal(err)
	}
	f, err := OpenInRoot(root, "f", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 10)
	if n, _ := f.Read(text); string(text[:n]) != "high" {
		t.Errorf("read %q", text[:n])
	}
	f.Close()
	root.Close()
	if _, err := os.Stat(in("upper/f")); err != nil {
		t.Error(err)
	}
	if _, err := mount([]string{in("nosuch"), in("low")}, "", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent layer: %v", err)
	}
	if left, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(left), dir) {
		t.Errorf("mounts that all see: %v\n%s", err, left)
	}
	many := []string{}
	for i := range 300 {
		layer := filepath.Join(dir, fmt.Sprintf("layer:with,%d", i))
		if err := os.Mkdir(layer, 0o755); err != nil {
			t.Fatal(err)
		}
		many = append(many, layer)
	}
	if root, err = mount(append(many, in("low")), "", ""); err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f, err = OpenInRoot(root, "f", os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestXattrs(t *testing.T) {
	dir := Borrow(openTest(t, t.TempDir()))
	fd, err := CreateAt(dir, "f", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	big := bytes.Repeat([]byte("x"), 3000)
	if err := fd.SetXattr("user.big", big); NoXattr(err) {
		t.Skip("the file system has no extended attributes")
	} else if err != nil {
		t.Fatal(err)
	}
	if err := SetXattrAt(dir, "f", "user.empty", nil); err != nil {
		t.Fatal(err)
	}
	if got, err := GetXattrAt(fd, "", "user.big"); err != nil || !bytes.Equal(got, big) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	if names, err := ListXattrAt(dir, "f"); err != nil || len(names) != 2 {
		t.Errorf("%v: %v", names, err)
	}
	for range 2 {
		if err := RemoveXattrAt(dir, "f", "user.big"); err != nil {
			t.Error(err)
		}
	}
	if got, err := GetXattrAt(dir, "f", "user.big"); got != nil || err != nil {
		t.Errorf("%q: %v", got, err)
	}
}
