package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/engine/storage"
	"github.com/cove-containers/cove/runtime"
)

func request(change ...func(*CreateOptions)) CreateOptions {
	o := CreateOptions{Name: "web", Config: &ct.Config{Image: "busybox"}, HostConfig: &ct.HostConfig{}}
	for _, c := range change {
		c(&o)
	}
	return o
}

func withVolumes(o *CreateOptions) {
	o.HostConfig.Binds = []string{"data:/data"}
	o.Config.Volumes = map[string]struct{}{"/anonymous": {}}
}

func policy(name ct.RestartPolicyMode, most int) func(*CreateOptions) {
	return func(o *CreateOptions) {
		o.HostConfig.RestartPolicy = ct.RestartPolicy{Name: name, MaximumRetryCount: most}
	}
}

func command_(args ...string) func(*CreateOptions) {
	return func(o *CreateOptions) { o.Config.Cmd = args }
}

func mustCreate(t *testing.T, e *Engine, o CreateOptions) string {
	t.Helper()
	answer, err := e.ContainerCreate(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return answer.ID
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// status is the container's state, "" once it is gone.
func status(e *Engine, id string) ct.ContainerState {
	c, err := e.containers.Get(id)
	if err != nil {
		return ""
	}
	return c.State.Status
}

func (w *world) shim(id string) *fakeShim {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shims[id]
}

// TestCreateFailingAtEachStep: whatever step fails, nothing is left and the name is free.
func TestCreateFailingAtEachStep(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	failed := 0
	for n := 1; ; n++ {
		w.step, w.failAt = 0, n
		answer, err := e.ContainerCreate(context.Background(), request(withVolumes))
		if err == nil {
			if err := e.ContainerRemove(context.Background(), answer.ID, RemoveOptions{Volumes: true}); err != nil {
				t.Fatal(err)
			}
			break
		}
		failed++
		if !errors.Is(err, errInjected) {
			t.Fatalf("step %d: %v", n, err)
		}
		if left := w.leftovers(); len(left) > 0 {
			t.Errorf("step %d left %v", n, left)
		}
		if entries, _ := os.ReadDir(filepath.Join(e.parts.Config.Root, "containers")); len(entries) > 0 {
			t.Errorf("step %d left a folder", n)
		}
		if len(e.containers.List()) > 0 {
			t.Errorf("step %d left a record", n)
		}
	}
	if failed < 7 {
		t.Errorf("only %d steps failed", failed)
	}
}

// TestStartFailingAtEachStep: whatever step fails, network and supervisor are gone and the container is as before.
func TestStartFailingAtEachStep(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	id := mustCreate(t, e, request(withVolumes))
	before := len(w.leftovers())
	failed := 0
	for n := 1; ; n++ {
		w.step, w.failAt = 0, n
		err := e.ContainerStart(context.Background(), id)
		if err == nil {
			break
		}
		failed++
		if !errors.Is(err, errInjected) {
			t.Fatalf("step %d: %v", n, err)
		}
		if left := w.leftovers(); len(left) != before {
			t.Errorf("step %d left %v", n, left)
		}
		c, err := e.containers.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		if c.State.Status != ct.StateCreated || c.State.ExitCode != 128 || c.State.Error == "" || c.SandboxID != "" || c.Started {
			t.Errorf("step %d: %+v", n, c.State)
		}
	}
	if failed < 6 {
		t.Errorf("only %d steps failed", failed)
	}
	if status(e, id) != ct.StateRunning {
		t.Error("does not run at last")
	}
	w.failAt = 0
	if err := e.ContainerRemove(context.Background(), id, RemoveOptions{Force: true, Volumes: true}); err != nil {
		t.Fatal(err)
	}
	if left := w.leftovers(); len(left) != 1 || left[0] != "volume data" {
		t.Errorf("removal left %v", left)
	}
}

// TestDrawing: what lies in a container's folder is in the drawing of package container.
func TestDrawing(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	id := mustCreate(t, e, request(withVolumes))
	if err := e.ContainerStart(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	c, err := e.containers.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	drawing, err := os.ReadFile("../container/container.go")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(c.Dir(e.parts.Config.Root))
	if err != nil || len(entries) != 4 {
		t.Errorf("%v %v", entries, err)
	}
	for _, name := range []string{filepath.Base(c.LogPath), "local.log", filepath.Base(storage.DoomedFile(""))} {
		if !strings.Contains(string(drawing), "//	            "+strings.ReplaceAll(name, id, "<id>")+" ") {
			t.Errorf("%s is not drawn", name)
		}
	}
	for _, entry := range entries {
		if !strings.Contains(string(drawing), "//	            "+entry.Name()+" ") {
			t.Errorf("%s is not drawn", entry.Name())
		}
	}
}

// TestAutoRemoveOfFailedStart: a container that removes itself is gone when it could not be started.
func TestAutoRemoveOfFailedStart(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	id := mustCreate(t, e, request(func(o *CreateOptions) { o.HostConfig.AutoRemove = true }))
	w.step, w.failAt = 0, 1
	if err := e.ContainerStart(context.Background(), id); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	if status(e, id) != "" || len(w.leftovers()) > 0 {
		t.Errorf("left %q %v", status(e, id), w.leftovers())
	}
}

func TestStartFailureCodes(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
		text string
	}{
		{&runtime.StartError{Code: 127, Err: errors.New(`exec: "x": executable file not found in $PATH`)}, 127, `exec: "x": executable file not found in $PATH`},
		{&runtime.StartError{Code: 126, Err: errors.New(`exec: "/etc": is a directory`)}, 126, `exec: "/etc": is a directory: permission denied`},
		{&runtime.StartError{Code: 126, Err: errors.New(`exec: "/f": permission denied`)}, 126, `exec: "/f": permission denied`},
		{errors.New("mount: not a directory"), 127, "mount: not a directory: Are you trying to mount a directory onto a file"},
		{errors.New("port is already allocated"), 128, "port is already allocated"},
	} {
		code, err := plan.StartFailure(tt.err)
		if code != tt.code || !strings.HasPrefix(err.Error(), tt.text) {
			t.Errorf("%v: %d %v", tt.err, code, err)
		}
		if tt.code != 128 && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v is of the wrong kind", err)
		}
	}
}

func TestLife(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	ctx := context.Background()
	id := mustCreate(t, e, request(command_("/bin/obedient")))
	exit, err := e.ContainerWait(ctx, "web", ct.WaitConditionNextExit)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.ContainerStart(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	if err := e.ContainerStart(ctx, "web"); !errdefs.IsNotModified(err) {
		t.Errorf("second start: %v", err)
	}
	if err := e.ContainerRemove(ctx, "web", RemoveOptions{}); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), `cannot remove container "web": container is running: stop the container before removing or force remove`) {
		t.Errorf("removal while running: %v", err)
	}
	if err := e.ContainerStop(ctx, "web", "", nil); err != nil {
		t.Fatal(err)
	}
	if r := <-exit; r.StatusCode != 143 {
		t.Errorf("waited for %d", r.StatusCode)
	}
	if err := e.ContainerStop(ctx, "web", "", nil); !errdefs.IsNotModified(err) {
		t.Errorf("second stop: %v", err)
	}
	if err := e.ContainerKill(ctx, "web", ""); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "is not running") {
		t.Errorf("kill of a stopped one: %v", err)
	}
	if err := e.ContainerKill(ctx, "web", "NOPE"); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "invalid signal: NOPE") {
		t.Errorf("kill with no signal: %v", err)
	}
	if err := e.ContainerRestart(ctx, "web", "", nil); err != nil {
		t.Fatal(err)
	}
	if err := e.ContainerRename(ctx, "web", "w2"); err != nil {
		t.Fatal(err)
	}
	if err := e.ContainerRemove(ctx, "w2", RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if left := w.leftovers(); len(left) > 0 || status(e, id) != "" {
		t.Errorf("left %v", left)
	}
	var actions []string
	past := e.bus.Past()
	for _, m := range past {
		if m.Type == et.ContainerEventType {
			actions = append(actions, string(m.Action))
		}
	}
	const want = "create start kill die stop start kill die start restart rename kill die destroy"
	got := strings.Join(actions, " ")
	if want2 := "create start kill die stop start restart rename kill die destroy"; got != want && got != want2 {
		t.Errorf("events: %s", got)
	}
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	ctx := context.Background()
	id := mustCreate(t, e, request())
	if err := e.ContainerStart(ctx, id); err != nil {
		t.Fatal(err)
	}
	s, zero := w.shim(id), 0
	if err := e.ContainerStop(ctx, id, "INT", &zero); err != nil {
		t.Fatal(err)
	}
	if len(s.signals) != 2 || s.signals[0] != 2 || s.signals[1] != 9 {
		t.Errorf("signals %v", s.signals)
	}
	if c, _ := e.containers.Get(id); c.State.ExitCode != 137 {
		t.Errorf("exit code %d", c.State.ExitCode)
	}
}

func TestOnFailureCounts(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	id := mustCreate(t, e, request(policy("on-failure", 2)))
	if err := e.ContainerStart(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	for run := range 3 {
		var s *fakeShim
		eventually(t, "run", func() bool { s = w.shim(id); return s != nil && status(e, id) == ct.StateRunning })
		s.finish(3)
		<-s.deleted
		if run < 2 {
			eventually(t, "next run", func() bool { return status(e, id) == ct.StateRunning })
		}
	}
	eventually(t, "exited", func() bool { return status(e, id) == ct.StateExited })
	if c, _ := e.containers.Get(id); c.RestartCount != 2 || c.State.ExitCode != 3 {
		t.Errorf("count %d, code %d", c.RestartCount, c.State.ExitCode)
	}
}

func TestStopEndsTheRestarting(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	ctx := context.Background()
	id := mustCreate(t, e, request(policy("always", 0)))
	if err := e.ContainerStart(ctx, id); err != nil {
		t.Fatal(err)
	}
	w.shim(id).finish(1)
	eventually(t, "restarting", func() bool { return status(e, id) == ct.StateRestarting })
	if err := e.ContainerStop(ctx, id, "", nil); err != nil {
		t.Fatal(err)
	}
	time.Sleep(250 * time.Millisecond)
	if got := status(e, id); got != ct.StateExited {
		t.Errorf("it is %s", got)
	}
}

func TestSignalsAndPolicies(t *testing.T) {
	for signal, want := range map[string]ct.ContainerState{"TERM": ct.StateExited, "KILL": ct.StateExited, "USR1": ct.StateRestarting} {
		w := newWorld()
		e := testEngine(t, w)
		id := mustCreate(t, e, request(policy("always", 0)))
		if err := e.ContainerStart(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		s := w.shim(id)
		if err := e.ContainerKill(context.Background(), id, signal); err != nil {
			t.Fatal(err)
		}
		s.finish(128)
		<-s.deleted
		eventually(t, signal+" → "+string(want), func() bool { return status(e, id) == want })
	}
}

func TestParallelRemovals(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	for range 20 {
		id := mustCreate(t, e, request())
		if err := e.ContainerStart(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		results := make(chan error, 10)
		for range cap(results) {
			go func() { results <- e.ContainerRemove(context.Background(), "web", RemoveOptions{Force: true}) }()
		}
		removed := 0
		for range cap(results) {
			switch err := <-results; {
			case err == nil:
				removed++
			case !strings.Contains(err.Error(), "already in progress") && !strings.Contains(err.Error(), "No such container"):
				t.Error(err)
			}
		}
		if removed != 1 || len(w.leftovers()) > 0 {
			t.Fatalf("%d removed it, left %v", removed, w.leftovers())
		}
	}
}

func TestAutoRemove(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	ctx := context.Background()
	id := mustCreate(t, e, request(withVolumes, func(o *CreateOptions) { o.HostConfig.AutoRemove = true }))
	gone, err := e.ContainerWait(ctx, id, ct.WaitConditionRemoved)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.ContainerStart(ctx, id); err != nil {
		t.Fatal(err)
	}
	w.shim(id).finish(4)
	if r := <-gone; r.StatusCode != 4 {
		t.Errorf("code %d", r.StatusCode)
	}
	eventually(t, "only the named volume is left", func() bool {
		left := w.leftovers()
		return len(left) == 1 && left[0] == "volume data"
	})
}

func TestAttachBeforeStart(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	ctx := context.Background()
	id := mustCreate(t, e, request())
	opened, over := make(chan struct{}), make(chan error, 1)
	client := &fakeConn{in: make(chan struct{})}
	go func() {
		over <- e.ContainerAttach(ctx, id, AttachOptions{Stdout: true, Stream: true, Open: func(bool) (Conn, error) {
			close(opened)
			return client, nil
		}})
	}()
	<-opened
	if err := e.ContainerStart(ctx, id); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-over:
		t.Fatalf("the client was let go while the container runs: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	w.shim(id).finish(0)
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// TestNetworkDisabled: a container that is to have no network asks for none, whatever else it was made with.
func TestNetworkDisabled(t *testing.T) {
	e := testEngine(t, newWorld())
	id := mustCreate(t, e, request(func(o *CreateOptions) { o.Config.NetworkDisabled = true }))
	c, err := e.containers.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	if r := e.NetworkRequest(c); r.Mode != "none" || r.Networks != nil {
		t.Errorf("asks for %q and %v", r.Mode, r.Networks)
	}
}
