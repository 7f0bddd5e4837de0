package test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cove-containers/cove/testkit"
)

// builder is the stock buildx on an engine of its own.
type builder struct {
	*Engine
	t      *testing.T
	config string
	path   string
}

func newBuilder(t *testing.T) *builder {
	t.Helper()
	needRoot(t)
	b := &builder{Engine: newEngine(t), t: t, path: buildx(t)}
	b.config = plugins(t, map[string]string{"buildx": b.path})
	b.Start()
	load(b.Engine, busybox(t), "busybox:latest")
	return b
}

// folder writes files, given by name and content in turns, to a new folder.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	at := time.Date(2024, 5, 6, 7, 8, 9, 123456, time.UTC)
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (b *builder) try(args ...string) (string, error) {
	cmd := exec.Command(b.path, append([]string{"build", "--progress=plain"}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+b.Socket(), "DOCKER_CONFIG="+b.config, "BUILDX_CONFIG="+filepath.Join(b.Dir, "buildx"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// build builds with buildx and tells what buildx writes of the result.
func (b *builder) build(args ...string) (meta map[string]any, log string) {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "meta.json")
	out, err := b.try(append([]string{"--metadata-file", file}, args...)...)
	if err != nil {
		b.t.Fatalf("build %v: %v\n%s", args, err, out)
	}
	body, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := json.Unmarshal(body, &meta); err != nil {
		b.t.Fatal(err)
	}
	return meta, out
}

// cove runs the command line and tells what it writes.
func (b *builder) cove(args ...string) string {
	b.t.Helper()
	cmd := exec.Command(filepath.Join(b.Bin, "cove"), append([]string{"-H", b.Socket()}, args...)...)
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("cove %v: %v\n%s%s", args, err, out, errors.String())
	}
	return string(out)
}

const threeSteps = `FROM busybox
WORKDIR /app
COPY a.txt sub/ /app/
RUN echo made > made && date +%N > /tmp/when && rm /tmp/when
ENV a=1
RUN true
RUN true
CMD ["cat", "/app/a.txt"]
`

// TestSameDigest builds the same in two fresh data roots, some time apart.
func TestSameDigest(t *testing.T) {
	t.Parallel()
	context := folder(t, "Dockerfile", threeSteps, "a.txt", "hello", "sub/b.txt", "more")
	seen := map[any]bool{}
	for range 2 {
		b := newBuilder(t)
		meta, _ := b.build("-t", "same", context)
		seen[meta["containerimage.digest"]] = true
		again, _ := b.build("-t", "same", context)
		if again["containerimage.digest"] != meta["containerimage.digest"] {
			t.Errorf("from the cache it is another image: %v, %v", meta, again)
		}
		if out := b.cove("run", "--rm", "same"); out != "hello" {
			t.Errorf("it says %q", out)
		}
		b.Stop()
		time.Sleep(1500 * time.Millisecond)
	}
	if len(seen) != 1 {
		t.Errorf("not the same: %v", seen)
	}
}

// TestSharedCache takes a cache through a registry, a folder and an image to an engine that has nothing.
func TestSharedCache(t *testing.T) {
	t.Parallel()
	registry, err := testkit.NewRegistry("127.0.0.1:0", testkit.Faults{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	context := folder(t, "Dockerfile", threeSteps, "a.txt", "hello", "sub/b.txt", "more")
	dir := filepath.Join(t.TempDir(), "cache")
	in := registry.Host() + "/cache:1"
	first := newBuilder(t)
	first.build("-t", registry.Host()+"/app:1", "--push", "--cache-to", "type=inline", context)
	first.build("--cache-to", "type=registry,mode=max,ref="+in, context)
	first.build("--cache-to", "type=registry,mode=max,image-manifest=false,ref="+in+"-index", context)
	first.build("--cache-to", "type=local,mode=max,dest="+dir, context)
	first.Stop()
	for _, from := range []string{"type=registry,ref=" + in, "type=registry,ref=" + in + "-index", "type=local,src=" + dir, "type=registry,ref=" + registry.Host() + "/app:1"} {
		second := newBuilder(t)
		_, log := second.build("-t", "again", "--cache-from", from, context)
		if n := strings.Count(log, "CACHED"); n < 4 {
			t.Errorf("%s: %d steps from the cache:\n%s", from, n, log)
		}
		if out := second.cove("run", "--rm", "again"); out != "hello" {
			t.Errorf("%s: it says %q", from, out)
		}
		second.Stop()
	}
}

// TestExportedForms: what is exported can be read by others' programs and loaded, and runs.
func TestExportedForms(t *testing.T) {
	t.Parallel()
	b := newBuilder(t)
	context := folder(t, "Dockerfile", threeSteps, "a.txt", "hello", "sub/b.txt", "more")
	out := t.TempDir()
	docker, oci := filepath.Join(out, "docker.tar"), filepath.Join(out, "oci.tar")
	b.build("-o", "type=docker,dest="+docker, "-t", "form:1", context)
	b.build("-o", "type=oci,compression=zstd,force-compression=true,dest="+oci, "-t", "form:2", context)
	b.build("-o", "type=local,dest="+filepath.Join(out, "files"), context)
	if body, err := os.ReadFile(filepath.Join(out, "files", "app", "made")); err != nil || string(body) != "made\n" {
		t.Errorf("files: %q, %v", body, err)
	}
	for name, archive := range map[string]string{"form:1": docker, "form:2": oci} {
		b.cove("load", "-i", archive)
		if got := b.cove("run", "--rm", name); got != "hello" {
			t.Errorf("%s says %q", name, got)
		}
	}
	if skopeo, err := exec.LookPath("skopeo"); err == nil {
		for _, source := range []string{"docker-archive:" + docker, "oci-archive:" + oci} {
			if said, err := exec.Command(skopeo, "inspect", source).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", source, err, said)
			}
		}
	}
}

// TestBaseRemoved: an image whose base was removed meanwhile is made from the cache with the base's own layer, as before.
func TestBaseRemoved(t *testing.T) {
	registry, err := testkit.NewRegistry("127.0.0.1:0", testkit.Faults{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	b := newBuilder(t)
	base := registry.Host() + "/base:1"
	b.cove("tag", "busybox", base)
	b.cove("push", base)
	context := folder(t, "Dockerfile", strings.Replace(threeSteps, "busybox", base, 1), "a.txt", "hello", "sub/b.txt", "more")
	first, _ := b.build("-t", "app", context)
	b.cove("rmi", "-f", "app", base, "busybox")
	b.cove("image", "prune", "-af")
	second, log := b.build("-t", "app", context)
	if first["containerimage.digest"] != second["containerimage.digest"] {
		t.Errorf("another image: %v, %v\n%s", first, second, log)
	}
	if got := b.cove("run", "--rm", "app"); got != "hello" {
		t.Errorf("it says %q", got)
	}
}
