package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// says fails the test where words are not in what was printed.
func says(t *testing.T, what, out string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("%s: no %q in\n%s", what, w, out)
		}
	}
}

// TestBuildxInstances drives the engine as an instance of buildx's driver "remote", which speaks BuildKit's gRPC to it alone.
func TestBuildxInstances(t *testing.T) {
	t.Parallel()
	needDocker(t)
	b := newBuilder(t)
	r := serve(t, t.TempDir())
	dir := folder(t, "Dockerfile", "FROM busybox\nCOPY f /f\nRUN cat /f >/made\nCMD [\"cat\", \"/made\"]\n", "f", "from afar\n")
	buildx := func(args ...string) string {
		t.Helper()
		return b.must(dir, "", append([]string{"docker", "buildx"}, args...)...)
	}
	buildx("create", "--name", "far", "--driver", "remote", b.Socket())
	says(t, "inspect", buildx("inspect", "far", "--bootstrap"), "Driver:", "remote", "running", "linux/amd64", "GC Policy rule")
	says(t, "ls", buildx("ls"), "far0", b.Socket())
	build := func(args ...string) string {
		t.Helper()
		return buildx(append([]string{"build", "--builder", "far", "--progress=plain"}, args...)...)
	}
	says(t, "load", build("--load", "-t", "far:1", "."), "importing to docker")
	if got := b.Run("docker", "run", "--rm", "far:1"); got != "from afar" {
		t.Errorf("loaded, it says %q", got)
	}
	build("--push", "-t", r.Host+"/far:1", ".")
	walk(t, r.Host, "far", "1")
	says(t, "du", buildx("du", "--builder", "far", "--verbose"), "Description:", "cat /f >/made", "Reclaimable:")
	if out := buildx("du", "--builder", "far", "--filter", "type=source.local"); strings.Count(out, "true") < 2 {
		t.Errorf("du of one kind:\n%s", out)
	}
	buildx("prune", "--builder", "far", "-f", "--filter", "type=source.local")
	if out := buildx("du", "--builder", "far", "--verbose"); strings.Contains(out, "source.local") || !strings.Contains(out, "cat /f >/made") {
		t.Errorf("after one kind was pruned:\n%s", out)
	}
	if out := build("."); strings.Count(out, "CACHED") < 3 {
		t.Errorf("what was not pruned is not found:\n%s", out)
	}
	buildx("prune", "--builder", "far", "-af")
	says(t, "du", buildx("du", "--builder", "far"), "Total:\t\t0B")

	build("--provenance=mode=max", ".")
	says(t, "history ls", buildx("history", "ls", "--builder", "far", "--format", "json"), `"status":"Completed"`)
	says(t, "history inspect", buildx("history", "inspect", "--builder", "far"), "pkg:docker/busybox", "https://slsa.dev/provenance/v1")
	says(t, "history logs", buildx("history", "logs", "--builder", "far"), "RUN cat /f")
	says(t, "attachment", buildx("history", "inspect", "attachment", "--builder", "far", "--type", "provenance"), "buildDefinition")
	bundle := filepath.Join(t.TempDir(), "b.dockerbuild")
	buildx("history", "export", "--builder", "far", "-o", bundle)
	if out, err := exec.Command("tar", "tf", bundle).CombinedOutput(); err != nil || !strings.Contains(string(out), "oci-layout") {
		t.Errorf("history export: %v\n%s", err, out)
	}
	buildx("history", "rm", "--builder", "far", "--all")
	if out := buildx("history", "ls", "--builder", "far", "--format", "json"); strings.Contains(out, "ref") {
		t.Errorf("the history after rm:\n%s", out)
	}
	buildx("rm", "far")
	if out := buildx("ls"); strings.Contains(out, "far0") {
		t.Errorf("after rm:\n%s", out)
	}
}

const matrix = `target "app" {
  name = "app-${item.name}-${replace(item.version, ".", "-")}"
  matrix = { item = [{ name = "a", version = "1.0" }, { name = "b", version = "2.0" }] }
  args = { WHAT = "${item.name} ${item.version}" }
  tags = ["HOST/baked:${item.name}"]
  output = ["type=registry"]
}
target "square" {
  name = "square-${x}${y}"
  matrix = { x = ["1", "2"], y = ["3", "4"] }
  dockerfile-inline = "FROM busybox\nRUN echo ${x}${y} >/what\nCMD cat /what\n"
  tags = ["square:${x}${y}"]
}
group "default" { targets = ["app", "square"] }
`

// TestBakeMatrix bakes a target for each combination, and puts images in a registry together by imagetools.
func TestBakeMatrix(t *testing.T) {
	t.Parallel()
	needDocker(t)
	b := newBuilder(t)
	r := serve(t, t.TempDir())
	dir := folder(t, "Dockerfile", "FROM busybox\nARG WHAT\nRUN echo $WHAT >/what\nCMD cat /what\n", "docker-bake.hcl", strings.ReplaceAll(matrix, "HOST", r.Host))
	b.must(dir, "", "docker", "buildx", "bake", "--progress=plain")
	for image, want := range map[string]string{"square:13": "13", "square:24": "24", r.Host + "/baked:a": "a 1.0", r.Host + "/baked:b": "b 2.0"} {
		if got := b.Run("docker", "run", "--rm", image); got != want {
			t.Errorf("%s says %q", image, got)
		}
	}
	tools := func(args ...string) string {
		t.Helper()
		return b.must("", "", append([]string{"docker", "buildx", "imagetools"}, args...)...)
	}
	index := func(name string) (i ocispec.Index) {
		t.Helper()
		if err := json.Unmarshal([]byte(tools("inspect", "--raw", r.Host+"/"+name)), &i); err != nil {
			t.Fatal(err)
		}
		return i
	}
	tools("create", "-t", r.Host+"/both:1", "--annotation", "index:who=both", r.Host+"/baked:a", r.Host+"/baked:b")
	both := index("both:1")
	if len(both.Manifests) != 2 || both.Annotations["who"] != "both" {
		t.Errorf("%+v", both)
	}
	walk(t, r.Host, "both", "1")
	tools("create", "--append", "-t", r.Host+"/both:1", r.Host+"/baked:a")
	if again := index("both:1"); len(again.Manifests) != 2 || again.Manifests[0].Digest == again.Manifests[1].Digest {
		t.Errorf("appended what was there: %+v", again)
	}
	tools("create", "-t", r.Host+"/copied:1", "-t", r.Host+"/copied:2", r.Host+"/baked:b")
	if got := b.Run("docker", "run", "--rm", "-q", "--pull=always", r.Host+"/copied:2"); got != "b 2.0" {
		t.Errorf("the copy says %q", got)
	}
	says(t, "inspect", tools("inspect", "--format", "{{json .Image}}", r.Host+"/copied:1"), `"cat /what"`, "RUN |1 WHAT=b 2.0")
}

// TestCachesThatAreNot: caches in clouds are refused before anything is run; what buildx leaves out by itself it does not get to.
func TestCachesThatAreNot(t *testing.T) {
	t.Parallel()
	b := newBuilder(t)
	dir := folder(t, "Dockerfile", "FROM busybox\nRUN echo it runs\n")
	for _, side := range []string{"--cache-to", "--cache-from"} {
		for _, kind := range []string{"gha", "s3", "azblob"} {
			wish := fmt.Sprintf("%s=type=%s,bucket=b,region=r,account_url=https://a.example,name=n", side, kind)
			if out, err := b.plugin("", "", "cove", "build", "--progress=plain", wish, dir); err == nil || !strings.Contains(out, fmt.Sprintf("cache of type %q is not supported", kind)) {
				t.Errorf("cove, %s: %v\n%s", wish, err, out)
			}
			out, err := b.try(wish, dir)
			if kind == "azblob" && (err == nil || !strings.Contains(out, `a cache of type "azblob" is not supported: there are registry, local and inline`) || strings.Contains(out, "it runs")) {
				t.Errorf("buildx, %s: %v\n%s", wish, err, out)
			} else if kind != "azblob" && err != nil {
				t.Errorf("buildx, %s: %v\n%s", wish, err, out)
			}
			b.cove("builder", "prune", "-af")
		}
	}
}

// terminal is a program on a terminal: what it prints is read as it comes, and answered.
type terminal struct {
	t    *testing.T
	in   io.Writer
	out  lockedBuffer
	read int // how much of out has been waited for
}

// expect waits until words have been printed after those that were waited for last.
func (c *terminal) expect(words string) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		text := c.out.String()
		if at := strings.Index(text[c.read:], words); at >= 0 {
			c.read += at + len(words)
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("no %q after %q", words, text[c.read:])
		}
	}
}

func (c *terminal) write(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, text); err != nil {
		c.t.Fatal(err)
	}
}

// TestBuildxDebug has the stock debugger go into a step that has failed, from a terminal.
func TestBuildxDebug(t *testing.T) {
	needDocker(t)
	b := newBuilder(t)
	if _, err := exec.LookPath("script"); err != nil {
		t.Skip("script (bsdutils) is not installed")
	}
	dir := folder(t, "Dockerfile", "FROM busybox\nENV WORD=spoken\nRUN --mount=type=tmpfs,target=/t echo left >/left; exit 3\n")
	cmd := b.client("script", "-qec", "docker buildx debug --invoke /bin/sh build --progress=plain "+dir, "/dev/null")
	cmd.Env = append(cmd.Env, "BUILDX_EXPERIMENTAL=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c := &terminal{t: t, in: in}
	cmd.Stdout, cmd.Stderr = &c.out, &c.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	c.expect("exit code: 3")
	c.expect("Interactive container was restarted")
	c.expect("/ # ")
	c.write("cat /left; echo $WORD $(id -u)$(ls -d /t)\n")
	c.expect("left\r")
	c.expect("spoken 0/t")
	c.write("exit\n")
	prompt := func() { // what is typed before belongs to a process that ends
		c.expect("Switched IO")
		c.expect("(buildx) ")
	}
	prompt()
	c.write("exec cat /left\r")
	c.expect("started. Press")
	c.expect("left\r")
	prompt()
	c.write("exit\r")
	c.expect("failed to solve: process")
	in.Close()
	if err := cmd.Wait(); err == nil {
		t.Error("a build that failed is well when it was debugged")
	}
	if bytes.Contains([]byte(b.cove("builder", "du")), []byte("exit 3")) {
		t.Error("the failed step is in the cache")
	}
}
