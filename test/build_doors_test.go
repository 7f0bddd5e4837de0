package test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/agent"
)

// plugin runs the docker client with buildx and compose as its plugins, on the builder's engine.
func (b *builder) plugin(dir, stdin string, args ...string) (string, error) {
	cmd := b.client(args...)
	cmd.Dir = dir
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (b *builder) client(args ...string) *exec.Cmd {
	cmd := b.Command(args...)
	cmd.Env = append(cmd.Env, "DOCKER_CONFIG="+b.config, "BUILDX_CONFIG="+filepath.Join(b.Dir, "buildx"), "BUILDX_NO_DEFAULT_ATTESTATIONS=1")
	return cmd
}

// must is plugin for what has to work; it says what is printed.
func (b *builder) must(dir, stdin string, args ...string) string {
	b.t.Helper()
	out, err := b.plugin(dir, stdin, args...)
	if err != nil {
		b.t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func needDocker(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("the stock docker client is not installed")
	}
}

const shown = "FROM busybox\nCOPY f /f\nRUN cat /f\n"

// TestBuildx builds with buildx as the docker client's plugin, from every kind of context to every kind of output.
func TestBuildx(t *testing.T) {
	t.Parallel()
	needDocker(t)
	b := newBuilder(t)
	dir := folder(t, "Dockerfile", shown, "f", "from a folder\n")
	plain := []string{"docker", "buildx", "build", "--progress=plain"}
	build := func(dir, stdin string, args ...string) string {
		b.t.Helper()
		return b.must(dir, stdin, append(plain[:len(plain):len(plain)], args...)...)
	}
	has := func(what, out string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%s", what, w, out)
			}
		}
	}
	has("inspect", b.must(dir, "", "docker", "buildx", "inspect"), "Driver: docker", "running", "host-gateway-ip")
	has("ls", b.must(dir, "", "docker", "buildx", "ls"), "running")

	t.Run("contexts", func(t *testing.T) {
		has("folder", build(dir, "", "-t", "one", "."), "from a folder", "naming to docker.io/library/one:latest")
		has("archive", build("", archive(t, dir), "-t", "two", "-"), "COPY f /f")
		has("Dockerfile", build("", "FROM busybox\nRUN echo alone\n", "-"), "alone")
		has("Dockerfile beside", build(dir, "FROM busybox\nCOPY f /\nRUN tac /f\n", "-f", "-", "."), "RUN tac")
		has("git", build("", "", "--no-cache", repositoryURL(t, dir)+"/.git#main"), "from a folder")
		layout := filepath.Join(t.TempDir(), "layout")
		build(dir, "", "-o", "type=oci,tar=false,dest="+layout, ".")
		other := folder(t, "n", "by name\n")
		named := "FROM base\nCOPY --from=other n /n\nRUN cat /n /f\n"
		has("named", build(dir, named, "--no-cache", "--build-context", "other="+other, "--build-context", "base=docker-image://one", "-f", "-", "."), "by name", "from a folder")
		has("layout", build(dir, named, "--no-cache", "--build-context", "other="+other, "--build-context", "base=oci-layout://"+layout, "-f", "-", "."), "by name", "from a folder")
	})
	t.Run("secrets", func(t *testing.T) {
		secret := filepath.Join(folder(t, "s", "hush"), "s")
		asks := "FROM busybox\nRUN --mount=type=secret,id=s wc -c /run/secrets/s\nRUN --mount=type=secret,id=e,env=E test \"$E\" = word\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK\n"
		cmd := b.client(append(plain, "--no-cache", "--secret", "id=s,src="+secret, "--secret", "id=e,env=SECRET", "--ssh", "default="+sshAgent(t), "-f", "-", ".")...)
		cmd.Env, cmd.Dir, cmd.Stdin = append(cmd.Env, "SECRET=word"), dir, strings.NewReader(asks)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		has("secrets", string(out), "4 /run/secrets/s")
	})
	t.Run("outputs", func(t *testing.T) {
		to := t.TempDir()
		for _, o := range []string{"type=local,dest=" + to + "/local", "type=tar,dest=" + to + "/tar", "type=oci,dest=" + to + "/oci", "type=docker,dest=" + to + "/docker", "type=image,name=three", "type=cacheonly"} {
			build(dir, "", "-o", o, ".")
		}
		if text, err := os.ReadFile(to + "/local/f"); err != nil || string(text) != "from a folder\n" {
			t.Errorf("local: %q %v", text, err)
		}
		for file, member := range map[string]string{"tar": "f", "oci": "oci-layout", "docker": "manifest.json"} {
			if !holds(t, filepath.Join(to, file), member) {
				t.Errorf("%s has no %s", file, member)
			}
		}
		has("loaded", b.Run("docker", "load", "-i", to+"/docker"), "Loaded image")
		has("image", b.Run("docker", "run", "--rm", "three", "cat", "/f"), "from a folder")
	})
	t.Run("push", func(t *testing.T) {
		r := serve(t, t.TempDir())
		meta, id, name := filepath.Join(t.TempDir(), "m"), filepath.Join(t.TempDir(), "i"), r.Host+"/pushed:1"
		build(dir, "", "--push", "-t", name, "--metadata-file", meta, "--iidfile", id, ".")
		var told map[string]any
		raw, _ := os.ReadFile(meta)
		if err := json.Unmarshal(raw, &told); err != nil || told["image.name"] != name {
			t.Errorf("metadata: %v %s", err, raw)
		}
		digest, _ := told["containerimage.digest"].(string)
		if written, _ := os.ReadFile(id); string(written) != digest || digest == "" {
			t.Errorf("iidfile %q, digest %q", written, digest)
		}
		has("imagetools", b.must("", "", "docker", "buildx", "imagetools", "inspect", name), digest)
	})
	t.Run("calls", func(t *testing.T) {
		lint := folder(t, "Dockerfile", "FROM busybox as x\nARG A=1 # what it is for\n")
		out, err := b.plugin(lint, "", "docker", "buildx", "build", "--call", "check", ".")
		has("check", out, "FromAsCasing", "Dockerfile:1")
		if err == nil {
			t.Errorf("warnings of a check are no failure")
		}
		has("outline", b.must(lint, "", "docker", "buildx", "build", "--call", "outline", "."), "A", "1")
		has("targets", b.must(lint, "", "docker", "buildx", "build", "--call", "targets", "."), "x (default)")
		has("rawjson", b.must(dir, "", "docker", "buildx", "build", "--progress", "rawjson", "."), `"name":"exporting to image"`)
	})
	t.Run("failures", func(t *testing.T) {
		id := filepath.Join(t.TempDir(), "i")
		out, err := b.plugin(dir, "FROM busybox\nRUN exit 7\n", append(plain, "--iidfile", id, "-f", "-", ".")...)
		has("a command", out, ">>> RUN exit 7", "failed to solve: process \"/bin/sh -c exit 7\" did not complete successfully: exit code: 7")
		if err == nil {
			t.Error("a command that fails is no failure")
		}
		if _, err := os.Stat(id); err == nil {
			t.Error("a build that failed has an ID")
		}
		out, _ = b.plugin(dir, "FROM busybox\nCOPY nofile /\n", append(plain, "-f", "-", ".")...)
		has("a file", out, ">>> COPY nofile /", `failed to solve: failed to compute cache key`, `"/nofile": not found`)
		out, _ = b.plugin(dir, "FROM busybox\nNOPE\n", append(plain, "-f", "-", ".")...)
		has("an instruction", out, ">>> NOPE", "unknown instruction: NOPE")
		out, _ = b.plugin(dir, "FROM busybox\nRUN --security=insecure true\n", append(plain, "--allow", "security.insecure", "-f", "-", ".")...)
		has("all rights", out, "security.insecure is not allowed")
	})
	t.Run("records", func(t *testing.T) {
		has("du", b.must("", "", "docker", "buildx", "du"), "Reclaimable:", "Total:")
		has("history", b.must("", "", "docker", "buildx", "history", "ls"), "Completed", "Error")
		has("history inspect", b.must("", "", "docker", "buildx", "history", "inspect"), "NOPE")
		has("history logs", b.must("", "", "docker", "buildx", "history", "logs"), "load build definition")
		if out := b.Run("docker", "system", "df"); !strings.Contains(out, "Build Cache") || strings.Contains(out, "Build Cache     0") {
			t.Errorf("usage:\n%s", out)
		}
		has("prune", b.must("", "", "docker", "buildx", "prune", "-af"), "Total:")
		if out := b.must("", "", "docker", "buildx", "du"); !strings.Contains(out, "Total:\t\t0B") {
			t.Errorf("after the prune:\n%s", out)
		}
		has("system prune", b.Run("docker", "system", "prune", "-f"), "Total reclaimed space")
	})
}

// archive packs a folder's files.
func archive(t *testing.T, dir string) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// holds tells whether an archive has a member.
func holds(t *testing.T, path, member string) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return false
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			return false
		}
		if strings.TrimPrefix(h.Name, "./") == member {
			return true
		}
	}
}

// repository makes a git repository of a folder's files.
func repository(t *testing.T, dir string) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	root := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "init.defaultBranch=main"}, args...)...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	if err := os.CopyFS(root, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "one")
	return root
}

// repositoryURL makes a git repository of a folder's files and serves it over HTTP, with git's own server.
func repositoryURL(t *testing.T, dir string) string {
	t.Helper()
	root := repository(t, dir)
	core, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(core)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	return "http://" + listener.Addr().String()
}

// sshAgent answers as an agent without keys.
func sshAgent(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(agent.NewKeyring(), conn); conn.Close() }()
		}
	}()
	return path
}
