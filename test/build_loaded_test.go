package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const loadedImage = `FROM busybox
RUN echo said >/said && mkdir -m 1777 /open && ln /said /open/hard && ln -s /said /open/soft && rm /etc/shadow
COPY --chown=12:34 --chmod=4755 tool /tool
ENV WORD=spoken
LABEL kept=yes
WORKDIR /open
USER 12:34
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["exec 2>&1; cat soft hard; echo $WORD $PWD $(id -u):$(id -g) $(stat -c %a:%u:%g /tool /open | tr '\n' ' '); ls /etc/shadow"]
`

const loadedSays = "said\nsaid\nspoken /open 12:34 4755:12:34 1777:0:0\nls: /etc/shadow: No such file or directory"

// TestOthersLoad has docker 20.10, podman and skopeo load what builds export and what is saved here: they find the same
// configuration and layers in it, and run it where they run anything.
func TestOthersLoad(t *testing.T) {
	needDocker(t)
	for _, program := range []string{"dockerd", "podman", "skopeo", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	b := newBuilder(t)
	dir, err := os.MkdirTemp("", "loaded")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	context := folder(t, "Dockerfile", loadedImage, "tool", "#!/bin/sh\n")
	if out, err := b.plugin(context, "", "cove", "build", "-t", "form", "."); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	own, _ := b.Command("cove", "run", "--rm", "--network=none", "form").CombinedOutput()
	if got := strings.ReplaceAll(strings.TrimSpace(string(own)), " \n", "\n"); got != loadedSays {
		t.Fatalf("here it says %q", got)
	}
	// What one form has its layers compressed with, which docker 20.10 cannot read, is not what the next one has.
	for _, args := range [][]string{
		{"docker", "buildx", "build", "-o", "type=oci,compression=zstd,force-compression=true,dest=" + dir + "/oci-buildx.tar", "-t", "form:oci-buildx", "."},
		{"cove", "build", "-o", "type=docker,dest=" + dir + "/docker.tar", "-t", "form:docker", "."},
		{"docker", "buildx", "build", "-o", "type=docker,dest=" + dir + "/docker-buildx.tar", "-t", "form:docker-buildx", "."},
		{"cove", "build", "-o", "type=oci,dest=" + dir + "/oci.tar", "-t", "form:oci", "."},
		{"cove", "save", "-o", dir + "/saved.tar", "form"},
		{"docker", "save", "-o", dir + "/saved-by-docker.tar", "form"},
	} {
		if out, err := b.plugin(context, "", args...); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	c := &otherClients{t: t, dir: dir}
	c.dockerd()
	parent := c.cgroup()
	podman := []string{"podman", "--root", dir + "/podman", "--runroot", dir + "/podman-run", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"}
	for _, form := range []struct {
		file, kind string
		docker     bool // its loads take it
	}{
		{"docker", "docker-archive", true}, {"docker-buildx", "docker-archive", true}, {"oci", "oci-archive", false}, {"oci-buildx", "oci-archive", false},
		{"saved", "docker-archive", true}, {"saved-by-docker", "docker-archive", true},
	} {
		file := filepath.Join(dir, form.file+".tar")
		config := c.config(form.kind+":"+file, form.file)
		if form.docker {
			c.loads([]string{"docker"}, file, config, parent)
		}
		c.loads(podman, file, config, parent, "--runtime=runc", "--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096")
		if form.kind == "oci-archive" { // the other way that the saved ones can be read
			continue
		}
		if strings.HasPrefix(form.file, "saved") && c.config("oci-archive:"+file, form.file+"-oci") != config {
			t.Errorf("%s has another configuration as an OCI layout", form.file)
		}
	}
	c.run(podman[0], append(podman[1:len(podman):len(podman)], "rmi", "-af")...)
}

// config has skopeo read an archive whole and gives the digest of the configuration, of which every layer is there.
func (c *otherClients) config(from, name string) string {
	c.t.Helper()
	to := filepath.Join(c.dir, "read-"+name)
	c.run("skopeo", "copy", "-q", "--preserve-digests", from, "dir:"+to)
	raw, err := os.ReadFile(filepath.Join(to, "manifest.json"))
	if err != nil {
		c.t.Fatal(err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		c.t.Fatal(err)
	}
	for _, d := range append(m.Layers, m.Config) {
		body, err := os.ReadFile(filepath.Join(to, d.Digest.Encoded()))
		if err != nil || digest.FromBytes(body) != d.Digest {
			c.t.Errorf("%s: %s: %v", from, d.Digest, err)
		}
	}
	return m.Config.Digest.String()
}

// cgroup is the option that has other engines put their containers into a cgroup that the test removes.
func (c *otherClients) cgroup() string {
	name := fmt.Sprintf("cove-test-%d", os.Getpid())
	c.t.Cleanup(func() {
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			_ = exec.Command("sh", "-c", "find /sys/fs/cgroup -depth -path '*/"+name+"*' -type d -exec rmdir {} + 2>/dev/null").Run()
			left, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
			if unified, _ := filepath.Glob("/sys/fs/cgroup/" + name); len(left)+len(unified) == 0 {
				return
			}
			if time.Now().After(deadline) {
				c.t.Errorf("left: %v", left)
				return
			}
		}
	})
	return "--cgroup-parent=/" + name
}

// load has an engine of others load an archive, and gives what it says.
func (c *otherClients) load(command []string, file string) string {
	c.t.Helper()
	args := append(command[1:len(command):len(command)], "load", "-q", "-i", file)
	out, err := c.command(command[0], args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s load of %s: %v\n%s", command[0], file, err, out)
	}
	return string(out)
}

// loads has an engine of others load an archive, and run it.
func (c *otherClients) loads(command []string, file, config string, options ...string) {
	c.t.Helper()
	engine := command[0]
	run := func(args ...string) string {
		c.t.Helper()
		return c.run(engine, append(command[1:len(command):len(command)], args...)...)
	}
	said := c.load(command, file)
	_, name, ok := strings.Cut(strings.TrimSpace(said), "Loaded image")
	if _, name, _ = strings.Cut(name, ": "); !ok || name == "" {
		c.t.Errorf("%s load of %s says %q", engine, file, said)
		return
	}
	if id := strings.TrimSpace(run("image", "inspect", "-f", "{{.Id}}", name)); strings.TrimPrefix(id, "sha256:") != strings.TrimPrefix(config, "sha256:") {
		c.t.Errorf("%s has %s of %s, the configuration is %s", engine, id, file, config)
	}
	args := append(command[1:len(command):len(command)], "run", "--rm", "--network=none")
	out, err := c.command(engine, append(append(args, options...), name)...).CombinedOutput()
	got := strings.ReplaceAll(strings.TrimSpace(string(out)), " \n", "\n")
	if got != loadedSays {
		c.t.Errorf("%s runs %s: %v: %q", engine, file, err, got)
	}
	run("rmi", "-f", name)
}
