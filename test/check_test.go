package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/testkit"
)

// check runs "system check" and returns its report and exit status.
func (e *Engine) check(args ...string) (api.CheckReport, int) {
	e.t.Helper()
	out, errOut, code := e.Try(append([]string{"cove", "system", "check", "--format", "json"}, args...)...)
	var report api.CheckReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		e.t.Fatalf("system check: %v: %s%s", err, out, errOut)
	}
	return report, code
}

// faults are a report's faults as lines.
func faults(report api.CheckReport) string {
	var b strings.Builder
	for _, f := range report.Faults {
		fmt.Fprintf(&b, "%s|%s|%s|%s|%v|%s\n", f.Kind, f.Name, f.Problem, f.Remedy, f.Repaired, f.Error)
	}
	return b.String()
}

// sound expects a check to find nothing.
func (e *Engine) sound(when string, args ...string) {
	e.t.Helper()
	if report, code := e.check(args...); code != 0 || len(report.Faults) > 0 {
		e.t.Errorf("%s: status %d\n%s", when, code, faults(report))
	}
}

// TestCheck damages what the engine has in every way that one could think of, and expects each to be found, and repaired where
// that is possible, while containers run and nothing else is touched.
func TestCheck(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox", "alpine")
	e.Run("cove", "run", "-d", "--name", "runs", "-p", "127.0.0.1::80", "-v", "data:/d", "busybox", "sh", "-c", "echo 1 >/d/x; sleep 1000")
	e.Run("cove", "create", "--name", "made", "-v", "/anonymous", "alpine:3.20")
	e.sound("at first", "--deep")
	made := e.Run("cove", "inspect", "-f", "{{.Id}}", "made")
	id := func(c string) string { return strings.Repeat(c, 64) }
	write := func(path string) {
		t.Helper()
		path = filepath.Join(e.DataRoot, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, stray := range []string{
		"blobs/sha256/note", "ingest/odd", "layers/trees/" + id("a") + "/f", "layers/fixes/" + id("b") + "/f", "layers/writable/" + id("c") + "/f",
		"layers/making/left/f", "layers/gone/left/f", "containers/" + id("d") + "/hosts", "volumes/found/_data/f", "volumes/.gone-lost/_data/f",
	} {
		write(stray)
	}
	if err := os.MkdirAll(filepath.Join(e.DataRoot, "volumes", "half", "_data"), 0o755); err != nil {
		t.Fatal(err)
	}
	// A blob that nothing leads to, whole.
	e.Run("sh", "-c", "printf orphan >"+e.DataRoot+"/blobs/sha256/$(printf orphan | sha256sum | cut -c1-64)")
	for _, gone := range []string{"volumes/data/../../containers/" + made, "layers/writable/" + made + "/work"} {
		if err := os.RemoveAll(filepath.Join(e.DataRoot, gone)); err != nil {
			t.Fatal(err)
		}
	}
	cgroup := e.strayCgroup(id("e"))
	supervisor := filepath.Join(e.Dir, "run", "shim", id("f"))
	if err := os.MkdirAll(supervisor, 0o700); err != nil {
		t.Fatal(err)
	}

	report, code := e.check()
	found := faults(report)
	for _, want := range []string{
		"blobs/sha256/note|", "ingest/odd|", "layers/trees/" + id("a"), "layers/fixes/" + id("b"), "layers/writable/" + id("c"), "layers/making/left",
		"layers/gone/left", "containers/" + id("d"), "volumes/found|", "volumes/.gone-lost|", "volumes/half|", "|nothing leads to it|",
		"containers/" + made + "|the container's folder is missing", "layer|" + made + "|", "cgroup|", "supervisor|" + id("f"),
	} {
		if !strings.Contains(found, want) {
			t.Errorf("not found: %s", want)
		}
	}
	if code != 1 || len(report.Faults) != 16 || strings.Contains(found, "true") {
		t.Errorf("status %d, %d faults:\n%s", code, len(report.Faults), found)
	}
	if again, _ := e.check(); faults(again) != found {
		t.Errorf("a check without --repair has changed something:\n%s", faults(again))
	}
	report, code = e.check("--repair")
	if code != 0 || len(report.Faults) < 16 || strings.Contains(faults(report), "false") {
		t.Errorf("repair: status %d\n%s", code, faults(report))
	}
	e.sound("after the repair", "--deep")
	if _, err := os.Stat(cgroup); err == nil {
		t.Error("the stray cgroup is still there")
	}
	if got := e.Run("cove", "volume", "ls", "-q"); !strings.Contains(got, "found") || strings.Contains(got, "half") || strings.Contains(got, "lost") {
		t.Errorf("volumes: %s", got)
	}
	if got := e.Run("cove", "run", "--rm", "-v", "found:/f", "busybox", "cat", "/f/f"); got != "x" {
		t.Errorf("the volume that was found holds %q", got)
	}
	e.Run("cove", "start", "made")
	if got := e.Run("cove", "exec", "runs", "cat", "/d/x"); got != "1" {
		t.Errorf("the running container's volume holds %q", got)
	}
	e.Run("cove", "volume", "rm", "found")
}

// strayCgroup makes a group below the engine's own that no container has, as one left behind would be.
func (e *Engine) strayCgroup(id string) string {
	e.t.Helper()
	// It fails when a group of somebody else goes while it looks.
	out, err := exec.Command("sh", "-c", "find /sys/fs/cgroup -type d -name "+e.Run("cove", "ps", "-q", "--no-trunc")).Output()
	if len(out) == 0 {
		e.t.Fatalf("no cgroup of a container: %v", err)
	}
	var path string
	for _, group := range strings.Fields(string(out)) {
		path = filepath.Join(filepath.Dir(group), id)
		if err := os.Mkdir(path, 0o755); err != nil && !os.IsExist(err) {
			e.t.Fatal(err)
		}
		e.t.Cleanup(func() { os.Remove(path) })
	}
	return path
}

// TestCheckDamage: bytes that have changed on the disk are found. A layer's tree is made again from its blob; a damaged blob
// goes, and pulling the image again makes it whole.
func TestCheckDamage(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox", "alpine")
	e.Run("cove", "run", "--name", "ran", "alpine:3.20", "true")
	layer := strings.TrimPrefix(e.Run("cove", "image", "inspect", "-f", "{{index .RootFS.Layers 0}}", "alpine:3.20"), "sha256:")
	tree := filepath.Join(e.DataRoot, "layers", "trees", layer)
	release, err := os.ReadFile(filepath.Join(tree, "etc/alpine-release"))
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{"etc/alpine-release": "3.20.4\n", "etc/planted": "x"} {
		if err := os.WriteFile(filepath.Join(tree, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(tree, "bin/busybox"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(tree, "etc/motd")); err != nil {
		t.Fatal(err)
	}
	e.sound("without looking into the trees")
	report, code := e.check("--deep")
	if got := faults(report); code != 1 || len(report.Faults) != 1 || !strings.Contains(got, "/bin/busybox: mode") || !strings.Contains(got, "/etc/alpine-release: ") ||
		!strings.Contains(got, "/etc/planted: does not belong there") || !strings.Contains(got, "/etc/motd: missing") {
		t.Errorf("status %d:\n%s", code, got)
	}
	e.Run("cove", "run", "-d", "--name", "holds", "alpine:3.20", "sleep", "1000")
	if report, code := e.check("--deep", "--repair"); code != 1 || !strings.Contains(faults(report), "stop it first") {
		t.Errorf("with a container on it: status %d:\n%s", code, faults(report))
	}
	e.Run("cove", "rm", "-f", "holds")
	if report, code := e.check("--deep", "--repair"); code != 0 {
		t.Errorf("repair: status %d:\n%s", code, faults(report))
	}
	if got, _ := os.ReadFile(filepath.Join(tree, "etc/alpine-release")); string(got) != string(release) {
		t.Errorf("alpine-release is %q", got)
	}
	e.sound("after the repair", "--deep")
	e.Run("cove", "start", "-a", "ran")

	// A whole tree that is gone comes back for the container that needs it.
	if err := os.RemoveAll(tree); err != nil {
		t.Fatal(err)
	}
	if report, code := e.check("--repair"); code != 0 || len(report.Faults) == 0 {
		t.Errorf("a missing tree: status %d:\n%s", code, faults(report))
	}
	e.Run("cove", "start", "-a", "ran")

	// A layer's blob changes a byte.
	im := on(t, "L comp=none; z big 3000000; f end 1")
	r := openRegistry(t, testkit.Faults{})
	r.Push("x", "1", im)
	name := r.Host() + "/x:1"
	e.Run("cove", "pull", name)
	blob := digest.FromBytes(im.Layers[len(im.Layers)-1]).Encoded()
	f, err := os.OpenFile(filepath.Join(e.DataRoot, "blobs/sha256", blob), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damage"), 100000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	report, code = e.check("--repair")
	if got := faults(report); code != 1 || !strings.Contains(got, "blob|sha256:"+blob+"|its ") || !strings.Contains(got, "image|"+name) || !strings.Contains(got, blob+" is missing") {
		t.Errorf("a damaged blob: status %d:\n%s", code, got)
	}
	e.Run("cove", "pull", name)
	e.sound("pulled again", "--deep")

	// A document changes a byte: what it named is forgotten.
	id := e.Run("cove", "image", "inspect", "-f", "{{.Id}}", name)
	if err := os.WriteFile(filepath.Join(e.DataRoot, "blobs/sha256", strings.TrimPrefix(id, "sha256:")), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if report, code := e.check("--repair"); code != 0 || !strings.Contains(faults(report), "image|"+name) {
		t.Errorf("a damaged document: status %d:\n%s", code, faults(report))
	}
	e.sound("forgotten")
	e.Run("cove", "pull", name)
	if got := e.Run("cove", "run", "--rm", name, "cat", "/end"); got != "1" {
		t.Errorf("pulled anew: %q", got)
	}
}

// TestCheckUnderLoad: checks that would repair run beside everything else, find nothing and disturb nobody.
func TestCheckUnderLoad(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	r := openRegistry(t, testkit.Faults{})
	r.Push("x", "1", on(t, "L; z a 3000000; f end 1\nL; w end; f n 2"))
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	name := r.Host() + "/x:1"
	stop := make(chan struct{})
	var wait sync.WaitGroup
	finished := sync.OnceFunc(func() { close(stop); wait.Wait() })
	t.Cleanup(finished)
	var deeds atomic.Int64
	for _, round := range []string{
		"cove run --rm -p 127.0.0.1::80 busybox true",
		"cove create --name v -v /anonymous -v n:/n busybox && cove rm -v v && cove volume rm n",
		"cove pull -q " + name + " && cove run --rm " + name + " cat /n && cove rmi " + name,
		"cove run --name s busybox touch /f && cove snapshot create s one && cove container clone s t && cove commit s made && cove rm s t && cove rmi made",
		"cove run -d --name d busybox sleep 100 && cove exec d true && cove rm -f d",
	} {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if out, errOut, code := e.Try("sh", "-c", round); code != 0 {
					t.Errorf("%s: status %d: %s%s", round, code, out, errOut)
					return
				}
				deeds.Add(1)
			}
		})
	}
	for begun := time.Now(); time.Since(begun) < 12*time.Second; {
		if report, code := e.check("--repair"); code != 0 || len(report.Faults) > 0 {
			t.Errorf("status %d:\n%s", code, faults(report))
		}
	}
	finished()
	t.Logf("%d rounds beside the checks", deeds.Load())
	e.sound("in the end", "--deep")
}
