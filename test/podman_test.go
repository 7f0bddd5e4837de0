package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPodman has Debian's podman run its containers with cove-runtime: their whole life, further processes, terminals, user
// namespaces.
func TestPodman(t *testing.T) {
	t.Parallel()
	needRoot(t)
	if _, err := exec.LookPath("podman"); err != nil {
		t.Skip("needs podman")
	}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "cv") // podman's paths become addresses of sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	podman := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("podman", append([]string{"--root", dir + "/root", "--runroot", dir + "/run", "--tmpdir", dir + "/tmp", "--storage-driver", "vfs",
			"--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", filepath.Join(bin, "cove-runtime")}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("podman %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.ReplaceAll(strings.TrimSpace(string(out)), "\r", "")
	}
	want := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	podman("load", "-q", "-i", filepath.Join(images(t), "busybox.tar"))
	parent := "cove-" + filepath.Base(dir)
	defer func() {
		podman("rm", "-af", "-t", "0")
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + parent)
		for _, g := range append(groups, "/sys/fs/cgroup/"+parent) {
			removeGroup(g)
		}
	}()
	// Hosts without CAP_SYS_RESOURCE cannot have podman's own limits.
	run := func(args ...string) string {
		t.Helper()
		return podman(append([]string{"run", "--network", "none", "--cgroup-parent", parent, "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"}, args...)...)
	}
	want(run("--rm", "--hostname", "x", "busybox", "hostname"), "x")
	run("-d", "--name", "a", "busybox", "sh", "-c", `echo out; trap "exit 3" TERM; while :; do sleep 0.1; done`)
	want(podman("exec", "-u", "5", "-w", "/tmp", "-e", "A=b", "a", "sh", "-c", "id -u; pwd; echo $A"), "5\n/tmp\nb")
	want(podman("exec", "-t", "a", "tty"), "/dev/pts/0")
	podman("pause", "a")
	want(podman("inspect", "-f", "{{.State.Status}}", "a"), "paused")
	podman("unpause", "a")
	podman("update", "--memory", "50m", "a")
	want(podman("exec", "a", "sh", "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true"), "52428800")
	podman("stop", "-t", "20", "a")
	want(podman("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "a"), "exited 3")
	want(podman("logs", "a"), "out")
	podman("start", "a")
	podman("kill", "-s", "KILL", "a")
	want(podman("wait", "a"), "137")

	users := []string{"--uidmap", "0:100000:65536", "--gidmap", "0:200000:65536"}
	inside := "echo $(cat /proc/self/uid_map /proc/self/gid_map); touch /x; stat -c %u:%g /x /dev /proc/1; echo >/dev/null"
	want(run(append(users, "--rm", "busybox", "sh", "-c", inside)...), "0 100000 65536 0 200000 65536\n0:0\n0:0\n0:0")
	want(run(append(users, "--rm", "-t", "busybox", "sh", "-c", "tty; id -u")...), "/dev/pts/0\n0")
	run(append(users, "-d", "--name", "b", "busybox", "sleep", "1000")...)
	want(podman("exec", "-u", "5", "b", "sh", "-c", "id -u; echo $(cat /proc/self/uid_map)"), "5\n0 100000 65536")
}
