package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/runtime"
)

func TestExec(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	ctx := context.Background()
	id := mustCreate(t, e, request())
	r := ct.ExecCreateRequest{Cmd: []string{"sh", "-c", "exit 5"}, AttachStdout: true}
	if _, err := e.ExecCreate(ctx, id, r); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "is not running") {
		t.Errorf("exec in a container that does not run: %v", err)
	}
	if err := e.ContainerStart(ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := e.ExecCreate(ctx, id, ct.ExecCreateRequest{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("exec of nothing: %v", err)
	}
	x, err := e.ExecCreate(ctx, id, r)
	if err != nil {
		t.Fatal(err)
	}
	early := make(chan error, 1)
	go func() { early <- e.ExecResize(ctx, x, 24, 80) }() // it waits for the start, however late that comes
	select {
	case err := <-early:
		t.Fatal("resized before it started:", err)
	case <-time.After(20 * time.Millisecond):
	}
	if err := e.ExecStart(ctx, x, ExecStartOptions{Detach: true}); err != nil {
		t.Fatal(err)
	}
	if err := <-early; err != nil && !errdefs.IsInvalidArgument(err) { // it may have ended already
		t.Error(err)
	}
	eventually(t, "exit code 5", func() bool {
		got, err := e.ExecInspect(ctx, x)
		return err == nil && !got.Running && got.ExitCode != nil && *got.ExitCode == 5
	})
	if err := e.ExecStart(ctx, x, ExecStartOptions{Detach: true}); !errdefs.IsConflict(err) {
		t.Errorf("a second start: %v", err)
	}
	if _, err := e.ExecInspect(ctx, "nope"); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	for n := 1; n <= 2; n++ {
		x, err := e.ExecCreate(ctx, id, r)
		if err != nil {
			t.Fatal(err)
		}
		w.step, w.failAt = 0, n
		if err := e.ExecStart(ctx, x, ExecStartOptions{Detach: true}); !errors.Is(err, errInjected) {
			t.Errorf("step %d: %v", n, err)
		}
		w.failAt = 0
		if got, _ := e.ExecInspect(ctx, x); got.ExitCode == nil || *got.ExitCode == 0 || got.Running {
			t.Errorf("step %d: %+v", n, got)
		}
	}
}

func TestLogsOfNone(t *testing.T) {
	e := testEngine(t, newWorld())
	id := mustCreate(t, e, request(func(o *CreateOptions) { o.HostConfig.LogConfig.Type = "none" }))
	err := e.ContainerLogs(context.Background(), id, LogsOptions{Stdout: true}, nil, nil)
	if err == nil || err.Error() != "configured logging driver does not support reading" {
		t.Error(err)
	}
}

func TestSharedNamespaces(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	ctx := context.Background()
	mustCreate(t, e, request())
	other := func(name, mode string) {
		t.Helper()
		mustCreate(t, e, request(func(o *CreateOptions) { o.Name = name; o.HostConfig.NetworkMode = ct.NetworkMode(mode) }))
	}
	other("guest", "container:web")
	other("self", "container:self")
	if err := e.ContainerStart(ctx, "guest"); err == nil || !strings.Contains(err.Error(), "non running container") {
		t.Errorf("the network of a container that does not run: %v", err)
	}
	if err := e.ContainerStart(ctx, "self"); err == nil || !strings.Contains(err.Error(), "cannot join own network") {
		t.Errorf("its own network: %v", err)
	}
}

func TestDraft(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	id := mustCreate(t, e, request())
	c, err := e.containers.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	h := c.HostConfig
	if c.Config.Hostname != id[:12] || h.NetworkMode != "bridge" || h.LogConfig.Type != "json-file" || h.ShmSize != 64<<20 || h.RestartPolicy.Name != "no" ||
		len(h.MaskedPaths) == 0 || c.Path != "/bin/true" || c.State.Status != ct.StateCreated {
		t.Errorf("%+v", c)
	}
	saved := *c
	if saved.Wished["bridge"] == nil {
		t.Error("no endpoint on the default network")
	}
}

// TestCommandInAnEndingContainer: what the kernel says of a command whose container has just ended is no failure of the engine.
func TestCommandInAnEndingContainer(t *testing.T) {
	r := &run{over: make(chan struct{})}
	odd := errors.New("clone: cannot allocate memory")
	if err := r.lost("web", odd); err != odd {
		t.Error("the container goes on:", err)
	}
	close(r.over)
	if err := r.lost("web", odd); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "container web is not running") {
		t.Error(err)
	}
	absent := fmt.Errorf("exec: %w", &runtime.StartError{Code: 127, Err: errors.New("no such file")})
	if err := r.lost("web", absent); err != absent {
		t.Error("the program is to blame:", err)
	}
}
