package test

import (
	"os"
	"strings"
	"testing"
)

// TestUnifiedHost: on a host with cgroup v2 alone limits hold, and are told, changed and enforced as on others.
func TestUnifiedHost(t *testing.T) {
	needRoot(t)
	images(t)
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		t.Skip("needs a host with cgroup v2 alone: scripts/vm-test has one")
	}
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	files := func(names ...string) string {
		t.Helper()
		return e.Run("cove", "exec", "x", "sh", "-c", "cd /sys/fs/cgroup && cat "+strings.Join(names, " "))
	}
	if got := e.Run("cove", "info", "-f", "{{.CgroupVersion}} {{.CgroupDriver}}"); got != "2 cgroupfs" {
		t.Errorf("version and driver: %s", got)
	}
	e.Run("cove", "run", "-d", "--name", "x", "-m", "64m", "--cpus", ".5", "--pids-limit", "20", "--cpu-shares", "512", "--cpuset-cpus", "0", "busybox", "sleep", "1000")
	if got, want := files("memory.max", "memory.swap.max", "cpu.max", "pids.max", "cpuset.cpus"), "67108864\n67108864\n50000 100000\n20\n0"; got != want {
		t.Errorf("limits:\n%s", got)
	}
	if got := e.Run("cove", "exec", "x", "cat", "/proc/self/cgroup"); got != "0::/" {
		t.Errorf("cgroup as seen from inside: %s", got)
	}
	if got := e.Run("cove", "stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "x"); !strings.HasSuffix(got, "/ 64MiB 1") || strings.HasPrefix(got, "0B") {
		t.Errorf("stats: %s", got)
	}
	e.Run("cove", "update", "-m", "32m", "--memory-swap", "32m", "--cpus", ".25", "--pids-limit", "10", "x")
	if got, want := files("memory.max", "memory.swap.max", "cpu.max", "pids.max"), "33554432\n0\n25000 100000\n10"; got != want {
		t.Errorf("changed limits:\n%s", got)
	}
	if _, errOut, _ := e.Try("cove", "exec", "x", "sh", "-c", "i=0; while [ $i -lt 15 ]; do sleep 1 & i=$((i+1)); done; wait"); !strings.Contains(errOut, "can't fork") {
		t.Errorf("more processes than are allowed: %s", errOut)
	}
	e.Run("cove", "pause", "x")
	if got := e.Run("cove", "inspect", "-f", "{{.State.Status}}", "x"); got != "paused" {
		t.Errorf("status %s", got)
	}
	e.Run("cove", "unpause", "x")
	e.Run("cove", "exec", "x", "true")
	for _, flags := range [][]string{nil, {"--privileged"}, {"--cgroupns", "host"}} {
		args := append([]string{"cove", "run", "--rm", "-m", "16m", "--memory-swap", "16m"}, flags...)
		if out, errOut, code := e.Try(append(args, "busybox", "sh", "-c", "head -c 100m /dev/zero | tail")...); code != 137 {
			t.Errorf("%q: a lack of memory: status %d: %s%s", flags, code, out, errOut)
		}
	}
	e.Try("cove", "run", "--name", "o", "-m", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", "head -c 100m /dev/zero | tail")
	if got := e.Run("cove", "inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", "o"); got != "true 137" {
		t.Errorf("lack of memory: %s", got)
	}
	e.Kill()
	e.Start()
	if got := files("memory.max"); got != "33554432" {
		t.Errorf("after the daemon was killed: %s", got)
	}
}
