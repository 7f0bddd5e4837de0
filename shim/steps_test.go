package shim

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// steps opens the steps' side of a world.
func (w *world) steps() *Steps {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	if binary := os.Getenv("COVE_RUNTIME"); binary != "" { // benchmarks of the real one
		self = binary
	}
	s, err := OpenSteps(filepath.Join(w.dir, "steps"), self)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

// step is what Run needs for a shell script; out is what it prints.
func (w *world) step(script string) (cfg StepConfig, out *os.File) {
	w.t.Helper()
	id := newID()
	old := w.config(id, script)
	tree, err := sys.MountOverlay(old.Overlay.Lower, old.Overlay.Upper, old.Overlay.Work)
	if err != nil {
		w.t.Fatal(err)
	}
	out, theirs, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { tree.Close(); out.Close(); theirs.Close() })
	return StepConfig{ID: id, Spec: old.Spec, User: "0", Tree: tree, Streams: [3]*os.File{nil, theirs, theirs}}, out
}

func (w *world) runStep(s *Steps, cfg StepConfig) *Step {
	w.t.Helper()
	step, err := s.Run(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = step.Close() })
	cfg.Streams[1].Close()
	return step
}

func TestStep(t *testing.T) {
	w := newWorld(t)
	s := w.steps()
	cfg, out := w.step("echo $0; cat; mount | grep -c overlay; exit 7")
	step := w.runStep(s, cfg)
	text, err := io.ReadAll(out)
	if err != nil || string(text) != "sh\n1\n" {
		t.Errorf("%q, %v", text, err)
	}
	if exit, err := step.Wait(t.Context()); err != nil || exit.Code != 7 {
		t.Error(exit, err)
	}
	for _, stub := range step.Stubs {
		if stub.Before.Mtim == stub.After.Mtim {
			t.Errorf("a stub without a trace: %+v", stub)
		}
	}
	if _, err := os.Stat(filepath.Join("/sys/fs/cgroup/pids/cove-test-" + cfg.ID)); err == nil {
		t.Error("its cgroup is left")
	}
	// The tree is still the caller's.
	if _, err := os.Stat("/proc/self/fd/" + strconv.Itoa(int(cfg.Tree.Fd())) + "/bin/sh"); err != nil {
		t.Error(err)
	}
	if err := step.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(s.dir); len(left) != 1 {
		t.Errorf("left %v", left)
	}
}

func TestStepThatIsNoProgram(t *testing.T) {
	w := newWorld(t)
	s := w.steps()
	cfg, _ := w.step("")
	cfg.Spec.Process.Args = []string{"/nosuch"}
	_, err := s.Run(t.Context(), cfg)
	var start *runtime.StartError
	if !errors.As(err, &start) || start.Code != 127 {
		t.Error(err)
	}
}

// TestStepIsKilled ends steps that would not end by themselves, fork without end and ignore signals.
func TestStepIsKilled(t *testing.T) {
	w := newWorld(t)
	s := w.steps()
	cfg, out := w.step(`trap "" TERM INT; f() { trap "" TERM; f & f & }; echo go; f; while :; do sleep 1; done`)
	limit := int64(300)
	cfg.Spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: &limit}
	step := w.runStep(s, cfg)
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if err := step.Kill(t.Context(), "", syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	began := time.Now()
	if err := step.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := syscall.Kill(step.Pid(), 0); err == nil {
		t.Error("it runs")
	}
}

// TestStepsDie kills the supervisor, then the daemon's end of it: no process of a step stays.
func TestStepsDie(t *testing.T) {
	w := newWorld(t)
	s := w.steps()
	cfg, _ := w.step("sleep 1000")
	step := w.runStep(s, cfg)
	if err := s.booted.process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitGone(t, s.booted.process.Pid)
	if exit, err := step.Wait(t.Context()); err != nil || exit.Code != 137 {
		t.Error(exit, err)
	}
	waitGone(t, step.Pid())
	_ = step.Close()

	// The next step gets a new supervisor.
	cfg, _ = w.step("sleep 1000")
	step = w.runStep(s, cfg)
	_ = s.booted.wire.Close() // as the kernel does when a daemon is killed
	_ = step.shim.Close()
	waitGone(t, step.Pid())

	// Both at once: whoever opens the folder next ends what runs.
	s = w.steps()
	cfg, _ = w.step("sleep 1000")
	step = w.runStep(s, cfg)
	if err := step.shim.Close(); err != nil { // a daemon that is killed mourns nobody
		t.Fatal(err)
	}
	_ = s.booted.process.Signal(syscall.SIGKILL)
	w.steps()
	waitGone(t, step.Pid())
	if left, _ := os.ReadDir(s.dir); len(left) != 1 {
		t.Errorf("left %v", left)
	}
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(text), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d runs", pid)
		}
	}
}

func TestStepExec(t *testing.T) {
	w := newWorld(t)
	s := w.steps()
	cfg, _ := w.step("sleep 1000")
	step := w.runStep(s, cfg)
	out, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	process := *cfg.Spec.Process
	process.Args = []string{"sh", "-c", "echo hello; exit 3"}
	_, err = step.Exec(t.Context(), "one", ExecConfig{Process: process, User: "0"}, [3]*os.File{nil, theirs, nil})
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(out)
	if exit, failed := step.WaitExec(t.Context(), "one"); err != nil || failed != nil || exit.Code != 3 || string(text) != "hello\n" {
		t.Error(string(text), exit, err, failed)
	}
	process.Args = []string{"sh", "-c", "stty size; exit 4"}
	console, err := step.Exec(t.Context(), "two", ExecConfig{Process: process, User: "0", Terminal: true, Width: 30, Height: 20}, [3]*os.File{})
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	text, _ = io.ReadAll(console) // ends with EIO
	if exit, err := step.WaitExec(t.Context(), "two"); err != nil || exit.Code != 4 || string(text) != "20 30\r\n" {
		t.Errorf("%q %v %v", text, exit, err)
	}
}

func BenchmarkStep(b *testing.B) {
	w := newWorld(b)
	s := w.steps()
	for b.Loop() {
		cfg, _ := w.step("")
		cfg.Spec.Process.Args = []string{"true"}
		step := w.runStep(s, cfg)
		if exit, err := step.Wait(b.Context()); err != nil || exit.Code != 0 {
			b.Fatal(exit, err)
		}
		step.Close()
		cfg.Tree.Close()
	}
}
