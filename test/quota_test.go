package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cove-containers/cove/sys"
	"github.com/cove-containers/cove/testkit"
)

// fills writes three megabytes, in a layer that may be full, and then twelve.
const fills = `df -k / | tail -1; rm -f /f && dd if=/dev/zero of=/f bs=1M count=3 && echo three; dd if=/dev/zero of=/f bs=1M count=12 && echo twelve`

// limits are the projects that have a limit on the file system of a folder, among those the engine takes its own from.
func limits(t *testing.T, folder string) (all []string) {
	t.Helper()
	dir, err := os.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for from := uint32(1 << 30); ; from++ {
		project, found, err := sys.NextProject(sys.Borrow(dir), from)
		if err != nil {
			t.Fatal(err)
		}
		if !found {
			return all
		}
		if _, limit, err := sys.ProjectUse(sys.Borrow(dir), project); err != nil || limit > 0 {
			all = append(all, fmt.Sprintf("%d: %d %v", project, limit, err))
		}
		from = project
	}
}

// TestStorageSize: what a container writes is bounded where the file system keeps limits of projects, at any time of its
// life, and nobody else is.
func TestStorageSize(t *testing.T) {
	needRoot(t)
	images(t)
	testkit.OnProjects(t, testStorageSize)
}

func testStorageSize(t *testing.T, folder string) {
	e := newEngine(t)
	e.DataRoot = filepath.Join(folder, "data")
	t.Cleanup(func() {
		e.finishOnce()
		os.RemoveAll(e.DataRoot)
		if left := limits(t, folder); len(left) > 0 {
			t.Errorf("limits left: %v", left)
		}
	})
	e.Start()
	e.Load("busybox")
	run := func(what string, bounded, three bool, args ...string) string {
		t.Helper()
		out, errOut, code := e.Try(append([]string{"cove"}, args...)...)
		full := strings.Contains(errOut, "No space left") || strings.Contains(errOut, "quota exceeded")
		if bounded != full || bounded == strings.Contains(out, "twelve") || bounded != (code != 0) || three != strings.Contains(out, "three") {
			t.Errorf("%s: status %d: %s%s", what, code, out, errOut)
		}
		return out
	}
	size := func(id, want string) {
		t.Helper()
		if got := e.Run("cove", "inspect", "-f", "{{json .HostConfig.StorageOpt}}", id); got != want {
			t.Errorf("%s is told to have %s", id, got)
		}
	}
	if out := run("first", true, true, "run", "--name", "a", "--storage-opt", "size=6m", "busybox", "sh", "-c", fills); !strings.Contains(out, " 6144 ") {
		t.Errorf("df: %s", out)
	}
	size("a", `{"size":"6m"}`)
	run("another", false, true, "run", "--rm", "busybox", "sh", "-c", fills)
	run("a volume", false, true, "run", "--rm", "--storage-opt", "size=6m", "-v", "/v", "busybox", "sh", "-c", strings.ReplaceAll(fills, "/f", "/v/f"))
	run("started full", true, true, "start", "-a", "a")
	e.Kill()
	e.Start()
	run("after a crash", true, true, "start", "-a", "a")
	e.Run("cove", "rename", "a", "b")
	if _, errOut, code := e.Try("cove", "cp", filepath.Join(e.Bin, "coved"), "b:/x"); code == 0 {
		t.Errorf("copied into a full container: %s", errOut)
	}
	if got := len(limits(t, folder)); got != 1 {
		t.Errorf("%d limits for one container", got)
	}

	// Frozen files count on.
	e.Run("cove", "snapshot", "create", "b", "one")
	run("on a snapshot", true, false, "start", "-a", "b")
	e.Run("cove", "snapshot", "rollback", "b", "one")
	run("rolled back", true, false, "start", "-a", "b")
	e.Run("cove", "snapshot", "rm", "b", "one")
	run("without its snapshot", true, true, "start", "-a", "b")
	e.Run("cove", "commit", "b", "kept")
	if got := e.Run("cove", "run", "--rm", "--storage-opt", "size=2m", "kept", "sh", "-c", "wc -c < /f; df -k / | tail -1"); !strings.Contains(got, " 2048 ") || strings.HasPrefix(got, "0") {
		t.Errorf("an image of it: %s", got)
	}
	e.Run("cove", "container", "clone", "b", "c")
	size("c", `{"size":"6m"}`)
	run("a clone", true, true, "start", "-a", "c")
	run("what was cloned", true, false, "start", "-a", "b")
	e.Run("cove", "rm", "b")
	// It covers the file of the one it was cloned from, and deleting takes room then, of which xfs wants to see a lot.
	if out, errOut, code := e.Try("cove", "start", "-a", "c"); code == 0 || !strings.Contains(out, " 6144 ") || strings.Contains(out, "twelve") {
		t.Errorf("a clone alone: status %d: %s%s", code, out, errOut)
	}
	e.Run("cove", "rm", "c")
	if left := limits(t, folder); len(left) > 0 {
		t.Errorf("limits of containers that are gone: %v", left)
	}
	refusedSizes(t, e)

	e.Stop()
	e.Args = append(e.Args, "--storage-opt", "overlay2.size=6m")
	e.Start()
	run("by default", true, true, "run", "--rm", "busybox", "sh", "-c", fills)
	run("said otherwise", false, true, "run", "--rm", "--storage-opt", "size=0", "busybox", "sh", "-c", fills)
	e.sound("at the end")
}

func refusedSizes(t *testing.T, e *Engine) {
	for option, want := range map[string]string{
		"size=nope": "invalid size: 'nope'", "size=-1": "invalid size: '-1'", "size=": "invalid size: ''", "dm=1": "Unknown option dm",
	} {
		if _, errOut, code := e.Try("cove", "run", "--name", "no", "--storage-opt", option, "busybox", "true"); code != 125 || !strings.Contains(errOut, want) {
			t.Errorf("%s: status %d: %s", option, code, errOut)
		}
	}
	if left := e.Run("cove", "ps", "-aq"); left != "" {
		t.Errorf("left: %s", left)
	}
}
