package test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// hostMount mounts a tmpfs at a new folder for the time of the test.
func hostMount(t *testing.T, dir string, propagation uintptr) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	if err := syscall.Mount("", dir, "", propagation, ""); err != nil {
		t.Fatal(err)
	}
}

// TestBindPropagation mounts on a bound folder while containers run, on the host and in a container, and looks who sees it.
func TestBindPropagation(t *testing.T) {
	needRoot(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	dir := t.TempDir()
	shared, private := filepath.Join(dir, "shared"), filepath.Join(dir, "private")
	hostMount(t, shared, syscall.MS_SHARED)
	hostMount(t, private, syscall.MS_PRIVATE)
	for _, sub := range []string{"early", "late", "inside"} {
		if err := os.Mkdir(filepath.Join(shared, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	hostMount(t, filepath.Join(shared, "early"), syscall.MS_SHARED)
	modes := []string{"private", "rprivate", "slave", "rslave", "shared", "rshared"}
	for _, mode := range modes {
		e.Run("cove", "run", "-d", "--name", mode, "--privileged", "-v", shared+":/x:"+mode, "busybox", "sleep", "1000")
	}
	hostMount(t, filepath.Join(shared, "late"), syscall.MS_SHARED)
	e.Run("cove", "exec", "rshared", "mount", "-t", "tmpfs", "inside", "/x/inside")
	defer syscall.Unmount(filepath.Join(shared, "inside"), syscall.MNT_DETACH)
	for _, mode := range modes {
		table := e.Run("cove", "exec", mode, "cat", "/proc/self/mountinfo")
		has := func(text string) bool { return strings.Contains(table, text) }
		receives := !strings.HasSuffix(mode, "private")
		if !has(" /x/early ") {
			t.Errorf("%s: what was mounted before is not seen", mode)
		}
		if has(" /x/late ") != receives {
			t.Errorf("%s: what the host mounts later is seen: %v", mode, !receives)
		}
		if has(" /x/inside ") != receives {
			t.Errorf("%s: what another container shares is seen: %v", mode, !receives)
		}
	}
	if table, err := os.ReadFile("/proc/self/mountinfo"); err != nil || !strings.Contains(string(table), shared+"/inside ") {
		t.Errorf("what a container shares is not seen on the host: %v", err)
	}
	for mode, words := range map[string]string{"rshared": "not a shared mount", "slave": "not a shared or slave mount"} {
		if _, said, code := e.Try("cove", "run", "--rm", "-v", private+":/x:"+mode, "busybox", "true"); code != 125 || !strings.Contains(said, "path "+private+" is mounted on "+private+" but it is "+words) {
			t.Errorf("%s of what is not shared: status %d, %q", mode, code, said)
		}
	}
	e.Run("cove", "rm", "-f", "private", "rprivate", "slave", "rslave", "shared", "rshared")
	bindRecursion(t, e, shared)
}

// bindRecursion binds a folder with a mount on it read-only, in every way there is.
func bindRecursion(t *testing.T, e *Engine, dir string) {
	const look = `for f in /x/f /x/early/f; do touch $f 2>/dev/null && echo writes || echo refused; done; grep -c " /x/early " /proc/mounts; true`
	for options, want := range map[string]string{
		"":                            "writes writes 1",
		",bind-recursive=disabled":    "writes writes 0",
		",ro":                         "refused refused 1",
		",ro,bind-recursive=enabled":  "refused refused 1",
		",ro,bind-recursive=writable": "refused writes 1",
		",ro,bind-recursive=readonly,bind-propagation=rprivate": "refused refused 1",
	} {
		for _, client := range []string{"cove", "docker"} {
			got := e.Run(client, "run", "--rm", "--mount", "type=bind,src="+dir+",dst=/x"+options, "busybox", "sh", "-c", look)
			if got = strings.Join(strings.Fields(got), " "); got != want {
				t.Errorf("%s, %q: %q, not %q", client, options, got, want)
			}
		}
	}
	if got := e.Run("cove", "run", "--rm", "-v", dir+":/x:ro", "busybox", "sh", "-c", look); strings.Join(strings.Fields(got), " ") != "refused refused 1" {
		t.Errorf(":ro gives %q", got)
	}
}
