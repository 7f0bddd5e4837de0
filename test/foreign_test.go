package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	foreignRun = `FROM --platform=$BUILDPLATFORM busybox AS tools
ARG TARGETARCH
RUN echo "made on $(uname -m) for $TARGETARCH" >/made
FROM busybox
ARG TARGETPLATFORM
COPY --from=tools /made /made
RUN uname -m >/machine && (echo one | cat; ls /made) >/pipe && echo $TARGETPLATFORM >/target
USER 1000
CMD cat /made /machine /target
`
	foreignCopy = "FROM busybox\nCOPY f /f\nENV A=b\n"
)

// TestForeignPlatforms builds and runs for another processor than the host's: without an emulator as far as that goes, and
// with one all of it, for two platforms at once, by every client.
func TestForeignPlatforms(t *testing.T) {
	t.Parallel()
	needDocker(t)
	b := newBuilder(t)
	b.Load("busybox") // every platform of it
	r := serve(t, t.TempDir())
	b.withoutEmulator(t, r)
	off := emulator(t)
	dir := folder(t, "Dockerfile", foreignRun)
	both := []string{"--platform", "linux/amd64,linux/arm64"}
	for client, build := range map[string][]string{
		"cove": {"cove", "build", "--progress=plain"}, "buildx": {"docker", "buildx", "build", "--progress=plain"},
	} {
		name := r.Host + "/" + client + ":1"
		out := b.must(dir, "", append(append(build, both...), "--push", "--provenance=false", "-t", name, ".")...)
		if !strings.Contains(out, "[linux/arm64 stage-1") || !strings.Contains(out, "[linux/amd64 stage-1") {
			t.Errorf("%s:\n%s", client, out)
		}
		walk(t, r.Host, client, "1")
		var index ocispec.Index
		if err := json.Unmarshal([]byte(b.must("", "", "docker", "buildx", "imagetools", "inspect", "--raw", name)), &index); err != nil || len(index.Manifests) != 2 {
			t.Fatalf("%s: %v %+v", client, err, index)
		}
		for i, arch := range []string{"amd64", "arm64"} {
			if p := index.Manifests[i].Platform; p == nil || p.Architecture != arch {
				t.Errorf("%s: %+v", client, index.Manifests[i])
			}
		}
		for arch, machine := range map[string]string{"amd64": "x86_64", "arm64": "aarch64"} {
			want := fmt.Sprintf("made on x86_64 for %s\n%s\nlinux/%s", arch, machine, arch)
			for _, runs := range []string{"cove", "docker"} {
				if got := b.Run(runs, "run", "--rm", "--pull=always", "-q", "--platform", "linux/"+arch, name); got != want {
					t.Errorf("%s run of what %s built for %s: %q", runs, client, arch, got)
				}
			}
		}
	}
	b.foreignContainer(t, r.Host+"/cove:1")
	b.foreignForms(t, dir)
	off()
	if runsARM(t) {
		return
	}
	if out, err := b.plugin("", "FROM busybox\nRUN echo after\n", "cove", "build", "--progress=plain", "--platform", "linux/arm64", "-"); err == nil || !strings.Contains(out, "cannot run programs for linux/arm64") {
		t.Errorf("when the emulator is gone: %v\n%s", err, out)
	}
}

// withoutEmulator is what can be had of another platform on a host that cannot run it: all but RUN, which says what is missing.
func (b *builder) withoutEmulator(t *testing.T, r *served) {
	t.Helper()
	dir, name := folder(t, "Dockerfile", foreignCopy, "f", "text\n"), r.Host+"/copied:1"
	b.must(dir, "", "docker", "buildx", "build", "--platform", "linux/amd64,linux/arm64", "--push", "--provenance=false", "-t", name, ".")
	walk(t, r.Host, "copied", "1")
	b.must(dir, "", "cove", "build", "--platform", "linux/arm64", "-t", "copied:arm", ".")
	if got := b.Run("cove", "image", "inspect", "-f", "{{.Os}}/{{.Architecture}} {{.Config.Env}}", "copied:arm"); !strings.HasPrefix(got, "linux/arm64 ") || !strings.Contains(got, "A=b") {
		t.Errorf("%s", got)
	}
	if runsARM(t) {
		t.Log("this host has an emulator for arm64 already")
		return
	}
	const missing = "cannot run programs for linux/arm64: register an emulator with the kernel (binfmt_misc)"
	for _, build := range [][]string{{"cove", "build", "--progress=plain"}, {"docker", "buildx", "build", "--progress=plain"}} {
		out, err := b.plugin("", "FROM busybox\nRUN echo before\n", append(build, "--platform", "linux/arm64", "-")...)
		if err == nil || !strings.Contains(out, missing) || !strings.Contains(out, ">>> RUN echo before") {
			t.Errorf("%v: %v\n%s", build, err, out)
		}
	}
	for _, client := range []string{"cove", "docker"} {
		_, said, code := b.Try(client, "run", "--rm", "--platform", "linux/arm64", "busybox", "true")
		if code == 0 || !strings.Contains(said, "exec format error") {
			t.Errorf("%s run, status %d: %s", client, code, said)
		}
	}
}

// foreignContainer lives a container's life under the emulator.
func (b *builder) foreignContainer(t *testing.T, image string) {
	t.Helper()
	b.Run("cove", "run", "-d", "--name", "far", "--init", "--platform", "linux/arm64", image, "sh", "-c", "trap 'echo ending; exit 3' TERM; echo up; while :; do sleep 0.1; done")
	defer b.Run("cove", "rm", "-f", "far")
	if got := b.Run("cove", "exec", "-u", "0", "far", "sh", "-c", "uname -m; id -u; cat /etc/hostname | wc -l"); got != "aarch64\n0\n1" {
		t.Errorf("exec: %q", got)
	}
	if got := b.Run("cove", "inspect", "-f", "{{.Platform}} {{.State.Running}}", "far"); got != "linux true" {
		t.Errorf("inspect: %q", got)
	}
	b.Run("cove", "stop", "far")
	if got := b.Run("cove", "wait", "far"); got != "3" {
		t.Errorf("it ended with %s", got)
	}
	if got := b.Run("cove", "logs", "far"); got != "up\nending" {
		t.Errorf("logs: %q", got)
	}
}

// foreignForms has several platforms in each other form that results come in.
func (b *builder) foreignForms(t *testing.T, dir string) {
	t.Helper()
	out := t.TempDir()
	both := "linux/amd64,linux/arm64"
	build := []string{"cove", "build", "--platform", both, "--provenance=false"}
	b.must(dir, "", append(build, "-o", "type=oci,dest="+out+"/oci.tar", "-t", "far:oci", ".")...)
	b.must(dir, "", append(build, "-o", "type=local,dest="+out+"/files", ".")...)
	b.must(dir, "", append(build, "-t", "far:here", ".")...)
	b.Run("cove", "rmi", "-f", "far:oci")
	b.Run("cove", "load", "-i", out+"/oci.tar")
	for _, name := range []string{"far:oci", "far:here"} {
		if got := b.Run("cove", "run", "--rm", "--platform", "linux/arm64", name, "cat", "/machine"); got != "aarch64" {
			t.Errorf("%s: %q", name, got)
		}
	}
	for platform, machine := range map[string]string{"linux_amd64": "x86_64", "linux_arm64": "aarch64"} {
		if got, err := os.ReadFile(filepath.Join(out, "files", platform, "machine")); err != nil || string(got) != machine+"\n" {
			t.Errorf("%s: %q %v", platform, got, err)
		}
	}
}
