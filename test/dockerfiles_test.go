package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificates are those of this machine: where HTTPS goes through a proxy, what is fetched in a build needs the proxy's.
const certificates = "id=ca,src=/etc/ssl/certs/ca-certificates.crt"

// TestRealDockerfiles builds what people build, with packages of Debian, Go and npm, and runs it.
func TestRealDockerfiles(t *testing.T) {
	needRoot(t)
	t.Parallel() // much of it is waiting for packages
	e := newEngine(t)
	archive := debianImage(t)
	e.Start()
	e.Run("cove", "load", "-q", "-i", archive)
	build := func(t *testing.T, args ...string) {
		t.Helper()
		start := time.Now()
		out, errs, code := e.TryFor(10*time.Minute, append([]string{"cove", "build", "--progress=plain"}, args...)...)
		if code != 0 {
			t.Fatalf("build %s: status %d\n%s%s", strings.Join(args, " "), code, out, errs)
		}
		t.Logf("built in %.1f s", time.Since(start).Seconds())
	}
	t.Run("apt", func(t *testing.T) {
		build(t, "-t", "hello", "dockerfiles/apt")
		if got := e.Run("cove", "run", "--rm", "hello"); got != "Hello, world!" {
			t.Errorf("hello says %q", got)
		}
		if got := e.Run("cove", "run", "--rm", "--entrypoint", "find", "hello", "/var/cache/apt", "-name", "*.deb"); got != "" {
			t.Errorf("what a cache mount held is in the image: %q", got)
		}
	})
	t.Run("python", func(t *testing.T) {
		build(t, "-t", "greet", "dockerfiles/python")
		if got := e.Run("cove", "run", "--rm", "greet", "you"); got != "Hello, you!" {
			t.Errorf("it says %q", got)
		}
	})
	t.Run("node", func(t *testing.T) {
		build(t, "-t", "node", "--secret", certificates, "dockerfiles/node")
		if got := e.Run("cove", "run", "--rm", "node"); got != "172800000 true" {
			t.Errorf("it says %q", got)
		}
	})
	t.Run("nginx", func(t *testing.T) {
		build(t, "-t", "site", "dockerfiles/nginx")
		port := freePorts(1)[0]
		e.Run("cove", "run", "-d", "--name", "site", "-p", fmt.Sprintf("127.0.0.1:%d:8080", port), "site")
		var page []byte
		for range 50 {
			if page, _ = exec.Command("wget", "-q", "-O", "-", fmt.Sprintf("http://127.0.0.1:%d/", port)).Output(); len(page) > 0 {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if !strings.Contains(string(page), "A static site.") {
			t.Errorf("the page is %q", page)
		}
		e.Run("cove", "stop", "site")
		if got := e.Run("cove", "inspect", "-f", "{{.State.ExitCode}}", "site"); got != "0" {
			t.Errorf("nginx ended with %s", got)
		}
	})
	t.Run("cove", func(t *testing.T) {
		root, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			t.Fatal(err)
		}
		build(t, "-t", "golang:1.26.8", "-f", "dockerfiles/golang.Dockerfile", "--build-context", "go="+strings.TrimSpace(string(root)), t.TempDir())
		programs := "PROGRAMS=./cmd/cove ./cmd/cove-runtime"
		build(t, "-t", "cove", "--secret", certificates, "--build-arg", programs, "--build-arg", "COMMIT=one", "..")
		build(t, "-t", "cove", "--secret", certificates, "--build-arg", programs, "--build-arg", "COMMIT=two", "..")
		if got := e.Run("cove", "run", "--rm", "cove", "cove", "--version"); !strings.Contains(got, "build two") {
			t.Errorf("it says %q", got)
		}
		list := e.Run("cove", "run", "--rm", "-v", e.Dir+"/run:/run/cove", "-e", "COVE_HOST=unix:///run/cove/cove.sock", "cove", "cove", "images", "-q")
		if strings.Count(list, "\n") < 3 {
			t.Errorf("the command line in the image lists %q", list)
		}
	})
}

// TestTwiceTheSameDigest builds the same in two engines that know nothing of one another.
func TestTwiceTheSameDigest(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"Dockerfile": `FROM alpine:3.20 AS a
RUN mkdir /d && for i in $(seq 50); do echo $i >/d/f$i; done && ln /d/f1 /d/hard && ln -s f2 /d/soft && chmod 4755 /d/f3 && chown 7:8 /d/f4
FROM busybox
COPY --from=a /d /d
COPY --link sub /sub
ADD --chmod=640 one two /t/
RUN rm /d/f5 && touch /d/f6 && mkdir -p /d/new/er
WORKDIR /w
ENV X=1
LABEL l=2
`, "one": "1", "two": "2", "sub/x": "x", "sub/y/z": "z",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var ids, archives []string
	for range 2 {
		e := newEngine(t)
		e.Start()
		e.Load("busybox", "alpine")
		out := filepath.Join(dir, "..", fmt.Sprintf("%d.tar", len(ids)))
		ids = append(ids, e.Run("cove", "build", "-q", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", "-t", "x", dir))
		e.Run("cove", "build", "-q", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", "-t", "x", "-o", "type=oci,rewrite-timestamp=true,dest="+out, dir)
		sum, err := exec.Command("sha256sum", out).Output()
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, strings.Fields(string(sum))[0])
		time.Sleep(1100 * time.Millisecond) // another second on the clock
	}
	if archives[0] != archives[1] {
		t.Errorf("archives whose files' times are settled differ: %v", archives)
	}
	if ids[0] != ids[1] {
		t.Errorf("images differ: %v", ids)
	}
}
