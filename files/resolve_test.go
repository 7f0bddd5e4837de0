package files

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/mount"

	"github.com/cove-containers/cove/container"
)

func TestAbsolute(t *testing.T) {
	for in, want := range map[string]string{
		"a": "/a", "/a/": "/a/", "a/.": "/a/.", ".": "/.", "/": "/", "/.": "/.", "../../a": "/a", "a/..": "/", "a//b/../c/": "/a/c/", "..": "/", "./": "/", "/a/./": "/a/",
	} {
		if got := absolute(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

// viewOf is a view of a folder with these links.
func viewOf(t *testing.T, links map[string]string) *view {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"etc", "a/b"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "etc/passwd"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return &view{root: root, c: &container.Container{}}
}

func TestResolve(t *testing.T) {
	v := viewOf(t, map[string]string{
		"l": "/etc/passwd", "dl": "etc", "up": "../../../etc", "chain": "dl/passwd", "a/b/back": "../..", "broken": "nope/deep/../z", "loop": "loop", "one": "two", "two": "one", "self": ".",
	})
	for in, want := range map[string]string{
		"/": "/", "/etc/passwd": "/etc/passwd", "/l": "/etc/passwd", "/dl/": "/etc", "/dl/.": "/etc", "/up/passwd": "/etc/passwd", "/chain": "/etc/passwd",
		"/a/b/back/dl/passwd": "/etc/passwd", "/broken": "/nope/z", "/absent/x": "/absent/x", "/etc/passwd/x": "/etc/passwd/x", "/self/self/a": "/a", "/a/b/back/../../x": "/x",
	} {
		if got, err := v.resolve(in); got != want || err != nil {
			t.Errorf("%s is %q, want %q: %v", in, got, want, err)
		}
	}
	for _, in := range []string{"/loop", "/one/x"} {
		if got, err := v.resolve(in); err == nil || !strings.Contains(err.Error(), "too many") {
			t.Errorf("%s is %q: %v", in, got, err)
		}
	}
}

func TestMountAt(t *testing.T) {
	v := viewOf(t, map[string]string{"run": "/a", "v": "/nowhere"})
	for _, target := range []string{"/run/b", "/run/b/in/", "/etc/passwd", "/v"} {
		v.c.Mounts = append(v.c.Mounts, container.Mount{Type: mount.TypeVolume, Target: target})
	}
	for in, want := range map[string]string{
		"/a": "", "/a/b": "/run/b", "/a/b/c": "/run/b", "/a/bc": "", "/a/b/in": "/run/b/in/", "/a/b/in/x": "/run/b/in/", "/etc": "", "/etc/passwd": "/etc/passwd", "/nowhere/x": "/v",
	} {
		m, err := v.mountAt(in)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if m != nil {
			got = m.Target
		}
		if got != want {
			t.Errorf("%s lies in %q, want %q", in, got, want)
		}
	}
}

// TestIsOwn: whatever is in the engine's own mount namespace is no container's.
func TestIsOwn(t *testing.T) {
	ns, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if !isOwn(ns) {
		t.Error("the engine's own mount namespace is taken for a container's")
	}
	other, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if isOwn(other) {
		t.Error("another namespace is taken for the engine's")
	}
}
