package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// walk reads everything a reference leads to in a registry, checks every digest and size, and returns the digest of the
// top and how many documents and blobs there were.
func walk(t *testing.T, host, name, reference string) (digest.Digest, int) {
	t.Helper()
	body, kind := fetch(t, fmt.Sprintf("http://%s/v2/%s/manifests/%s", host, name, reference))
	top := digest.FromBytes(body)
	var doc struct {
		Manifests, Layers []ocispec.Descriptor
		Config            *ocispec.Descriptor
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatalf("%s:%s (%s): %v", name, reference, kind, err)
	}
	n := 1
	for _, m := range doc.Manifests {
		d, below := walk(t, host, name, m.Digest.String())
		if d != m.Digest {
			t.Errorf("%s: the manifest %s is %s", name, m.Digest, d)
		}
		n += below
	}
	blobs := doc.Layers
	if doc.Config != nil {
		blobs = append(blobs, *doc.Config)
	}
	for _, b := range blobs {
		content, _ := fetch(t, fmt.Sprintf("http://%s/v2/%s/blobs/%s", host, name, b.Digest))
		if digest.FromBytes(content) != b.Digest || int64(len(content)) != b.Size {
			t.Errorf("%s: blob %s is something else", name, b.Digest)
		}
		n++
	}
	return top, n
}

func fetch(t *testing.T, url string) ([]byte, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v: %.200s", url, r.Status, err, body)
	}
	return body, r.Header.Get("Content-Type")
}

// otherClients are the programs of others that push to and pull from a registry of ours.
type otherClients struct {
	t    *testing.T
	dir  string
	host string
}

func (c *otherClients) run(program string, args ...string) string {
	c.t.Helper()
	out, err := c.command(program, args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (c *otherClients) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "HOME="+c.dir, "XDG_RUNTIME_DIR="+c.dir,
		"DOCKER_HOST=unix://"+c.dir+"/docker.sock", "TMPDIR="+c.dir)
	return cmd
}

// daemon starts a program in the background until the test ends.
func (c *otherClients) daemon(socket, program string, args ...string) {
	c.t.Helper()
	cmd := c.command(program, args...)
	var log lockedBuffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	c.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
	})
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			return
		}
	}
	c.t.Fatalf("%s does not answer:\n%s", program, log.String())
}

// TestClientsOfOthers has skopeo, podman, docker and containerd's ctr, as Debian has them, push to the registry and pull from it:
// each what the others pushed, whole indexes too. Every digest is the same at both ends.
func TestClientsOfOthers(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, program := range []string{"skopeo", "podman", "dockerd", "docker", "containerd", "ctr"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	source := filepath.Join(images(t), "busybox.tar")
	dir, err := os.MkdirTemp("", "clients")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	registry := serve(t, filepath.Join(dir, "registry"))
	c := &otherClients{t, dir, registry.Host}
	want := c.skopeo(source)
	c.podman()
	c.ctr(want)
	c.docker()
	// What each of them pushed is pulled by one that did not.
	for _, name := range []string{"skopeo/index", "podman/image", "podman/index", "ctr/index", "docker/image", "docker/index"} {
		top, n := walk(t, c.host, name, "1")
		t.Logf("%s: %s, %d documents and blobs", name, top, n)
		pulled := filepath.Join(dir, strings.ReplaceAll(name, "/", "-"))
		c.run("skopeo", "copy", "-q", "--all", "--src-tls-verify=false", "docker://"+c.host+"/"+name+":1", "dir:"+pulled)
		raw, err := os.ReadFile(filepath.Join(pulled, "manifest.json"))
		if err != nil || digest.FromBytes(raw) != top {
			t.Errorf("%s: skopeo pulled %s, %v", name, digest.FromBytes(raw), err)
		}
	}
	if top, _ := walk(t, c.host, "ctr/index", "1"); top != want {
		t.Errorf("ctr pushed %s, the image is %s", top, want)
	}
}

// skopeo pushes the whole index and returns its digest.
func (c *otherClients) skopeo(source string) digest.Digest {
	c.t.Helper()
	c.run("skopeo", "copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false", "oci-archive:"+source, "docker://"+c.host+"/skopeo/index:1")
	raw := c.run("skopeo", "inspect", "--raw", "oci-archive:"+source)
	want := digest.FromString(raw)
	top, n := walk(c.t, c.host, "skopeo/index", "1")
	if top != want || n < 5 {
		c.t.Errorf("skopeo pushed %s with %d parts, the image is %s", top, n, want)
	}
	return want
}

func (c *otherClients) podman() {
	c.t.Helper()
	store := []string{"--root", c.dir + "/podman", "--runroot", c.dir + "/podman-run", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"}
	podman := func(args ...string) string { return c.run("podman", append(store[:len(store):len(store)], args...)...) }
	podman("pull", "-q", "--tls-verify=false", c.host+"/skopeo/index:1")
	podman("push", "-q", "--tls-verify=false", "--digestfile", c.dir+"/digest", c.host+"/skopeo/index:1", c.host+"/podman/image:1")
	said, err := os.ReadFile(c.dir + "/digest")
	top, _ := walk(c.t, c.host, "podman/image", "1")
	if err != nil || strings.TrimSpace(string(said)) != top.String() {
		c.t.Errorf("podman says that it pushed %s, %v; there is %s", said, err, top)
	}
	podman("manifest", "create", "list")
	podman("manifest", "add", "--all", "--tls-verify=false", "list", "docker://"+c.host+"/skopeo/index:1")
	podman("manifest", "push", "-q", "--all", "--tls-verify=false", "list", "docker://"+c.host+"/podman/index:1")
	podman("rmi", "-af")
	podman("pull", "-q", "--tls-verify=false", c.host+"/podman/index:1")
	podman("pull", "-q", "--tls-verify=false", c.host+"/podman/image@"+top.String())
}

// ctr pulls all platforms and pushes them as another image.
func (c *otherClients) ctr(want digest.Digest) {
	c.t.Helper()
	root := filepath.Join(c.dir, "containerd")
	if err := os.Mkdir(root, 0o700); err != nil {
		c.t.Fatal(err)
	}
	socket := filepath.Join(root, "sock")
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.internal.v1.opt\"]\n[grpc]\naddress = %q\n",
		root+"/root", root+"/state", socket)
	if err := os.WriteFile(root+"/config.toml", []byte(config), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.daemon(socket, "containerd", "-c", root+"/config.toml")
	ctr := func(args ...string) string { return c.run("ctr", append([]string{"-a", socket}, args...)...) }
	from, to := c.host+"/skopeo/index:1", c.host+"/ctr/index:1"
	ctr("images", "pull", "--plain-http", "--all-platforms", "--snapshotter", "native", from)
	ctr("images", "tag", from, to)
	ctr("images", "push", "--plain-http", to)
	ctr("images", "rm", from, to)
	ctr("images", "pull", "--plain-http", "--all-platforms", "--snapshotter", "native", to)
	if out := ctr("images", "ls"); !strings.Contains(out, want.String()) {
		c.t.Errorf("ctr pulled something else:\n%s", out)
	}
}

// dockerd starts Debian's docker daemon, which the docker client then asks.
func (c *otherClients) dockerd() {
	c.t.Helper()
	root, socket := filepath.Join(c.dir, "dockerd"), filepath.Join(c.dir, "docker.sock")
	c.t.Cleanup(func() {
		// What its network namespaces and its runtime left mounted, should the daemon have been killed.
		exec.Command("umount", "-R", "-l", root).Run()
	})
	c.daemon(socket, "dockerd", "--data-root", root+"/data", "--exec-root", root+"/exec", "-H", "unix://"+socket, "--pidfile", root+"/pid",
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "vfs")
}

func (c *otherClients) docker() {
	c.t.Helper()
	c.dockerd()
	from, to := c.host+"/skopeo/index:1", c.host+"/docker/image:1"
	c.run("docker", "pull", "-q", from)
	c.run("docker", "tag", from, to)
	said := c.run("docker", "push", to)
	top, _ := walk(c.t, c.host, "docker/image", "1")
	if !strings.Contains(said, top.String()) {
		c.t.Errorf("docker pushed %s and says:\n%s", top, said)
	}
	if again := c.run("docker", "push", to); strings.Contains(again, ": Pushed") || !strings.Contains(again, "Layer already exists") {
		c.t.Errorf("docker pushed what was there:\n%s", again)
	}
	index := c.host + "/docker/index:1"
	c.run("docker", "tag", from, c.host+"/docker/index:amd64")
	c.run("docker", "push", "-q", c.host+"/docker/index:amd64")
	c.run("docker", "manifest", "create", "--insecure", index, c.host+"/docker/index:amd64")
	c.run("docker", "manifest", "push", index)
	c.run("docker", "rmi", "-f", from, to)
	c.run("docker", "pull", "-q", c.host+"/docker/image@"+top.String())
	// What podman and ctr pushed runs through docker, too.
	for _, name := range []string{"podman/index", "ctr/index", "docker/index"} {
		c.run("docker", "pull", "-q", c.host+"/"+name+":1")
	}
}
