package runtime

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// waitingChild clones a child that does what add says and then waits to be let go.
func waitingChild(t *testing.T, cgroup int, add func(*program)) (*Process, error) {
	t.Helper()
	pipes, err := openPipes()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{report: int(pipes.childReport.Fd())}
	keep := []int{int(pipes.childReport.Fd()), int(pipes.childStart.Fd())}
	slices.Sort(keep)
	p.keepOnly(keep)
	add(p)
	p.mark(markWaiting)
	p.wait(int(pipes.childStart.Fd()))
	pid, pidfd, err := clone(p, 0, cgroup)
	if err != nil {
		t.Fatal(err)
	}
	pipes.closeChild()
	child := &Process{}
	child.born(pid, pidfd, p, pipes, "", "")
	t.Cleanup(func() {
		if err := child.end(); err != nil {
			t.Error(err)
		}
		pipes.Close()
	})
	return child, p.listen(int(pipes.report.Fd()), markWaiting, -1)
}

// TestCloneIntoUnifiedGroup: the child is in its group from its first moment.
func TestCloneIntoUnifiedGroup(t *testing.T) {
	needRoot(t)
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.controllers"); err != nil {
		root += "/unified"
	}
	if _, err := os.Stat(root + "/cgroup.controllers"); err != nil {
		t.Skipf("needs a unified hierarchy: %v", err)
	}
	name := fmt.Sprintf("/cove-test-%d-clone", os.Getpid())
	if err := os.Mkdir(root+name, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(root + name); err != nil {
			t.Error(err)
		}
	})
	dir, err := os.Open(root + name)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	child, err := waitingChild(t, int(dir.Fd()), func(*program) {})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", child.Pid()))
	if err != nil || !strings.Contains(string(text), "0::"+name+"\n") {
		t.Errorf("got %q, %v", text, err)
	}
}

// TestChildReportsFailure: the parent learns which call failed and why, and results pass from call to call.
func TestChildReportsFailure(t *testing.T) {
	_, err := waitingChild(t, -1, func(p *program) {
		p.add("tolerated", unix.SYS_CHDIR, p.text("/nonexistent")).tolerate = unix.ENOENT
		p.add("ignored", unix.SYS_CHDIR, p.text("/nonexistent")).check = ignoreError
		p.add("open", unix.SYS_OPENAT, ^uintptr(0), p.text("/dev/null"), unix.O_RDONLY).into = 2
		p.add("close", unix.SYS_CLOSE, 2).refs = 1
		p.add("close again", unix.SYS_CLOSE, 2).refs = 1
	})
	var failed *stepError
	if !errors.As(err, &failed) || failed.step != "close again" || !errors.Is(err, unix.EBADF) {
		t.Errorf("got %v", err)
	}
}

// TestChildOfDeadParent: a child whose parent goes away does not go on.
func TestChildOfDeadParent(t *testing.T) {
	child, err := waitingChild(t, -1, func(*program) {})
	if err != nil {
		t.Fatal(err)
	}
	child.pipes.start.Close()
	if status, err := child.Wait(); err != nil || status.Code != statusFailed {
		t.Errorf("got %+v, %v", status, err)
	}
}
