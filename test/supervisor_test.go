package test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSilentSupervisor: a supervisor that is stopped does not keep the other containers without a daemon, and its own
// container is there again once it goes on.
func TestSilentSupervisor(t *testing.T) {
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	silent := e.Run("cove", "run", "-d", "--name", "silent", "busybox", "sleep", "1000")
	e.Run("cove", "run", "-d", "--name", "other", "busybox", "sleep", "1000")
	supervisor := parentOf(t, e.Run("cove", "inspect", "-f", "{{.State.Pid}}", "silent"))
	e.Stop() // not killed: the record is to say that the container runs
	if err := syscall.Kill(supervisor, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Kill(supervisor, syscall.SIGCONT) })
	e.Start()
	if got := e.Run("cove", "exec", "other", "echo", "here"); got != "here" {
		t.Errorf("exec in the other container: %q", got)
	}
	if got := e.Run("cove", "ps", "-q", "--no-trunc", "--filter", "status=running", "--filter", "name=silent"); got != silent {
		t.Errorf("the silent container is listed as %q", got)
	}
	time.AfterFunc(time.Second, func() { syscall.Kill(supervisor, syscall.SIGCONT) })
	e.Run("cove", "stop", "-t", "1", "silent") // waits for it
	if got := e.Run("cove", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "silent"); got != "exited 137" {
		t.Errorf("after stop: %q", got)
	}
}

// parentOf is the parent of a process.
func parentOf(t *testing.T, pid string) int {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return parent
}
