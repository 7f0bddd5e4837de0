package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	cp "github.com/moby/moby/api/types/checkpoint"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"
)

// withCriu puts a criu into PATH.
func withCriu(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if err := os.WriteFile(filepath.Join(dir, "criu"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func terminal(o *CreateOptions) { o.Config.Tty = true }

// TestCheckpoint: a container ends by its checkpoint, which no policy takes for a failure, or goes on; from the
// checkpoint it is started as from its program.
func TestCheckpoint(t *testing.T) {
	withCriu(t)
	w := newWorld()
	e := testEngine(t, w)
	ctx := context.Background()
	id := mustCreate(t, e, request(policy(ct.RestartPolicyAlways, 0)))
	if err := e.CheckpointCreate(ctx, id, cp.CreateRequest{CheckpointID: "one"}); !errors.Is(err, errdefs.ErrConflict) || !strings.HasSuffix(err.Error(), "not running") {
		t.Errorf("of a container that does not run: %v", err)
	}
	if err := e.ContainerStart(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := e.CheckpointCreate(ctx, id, cp.CreateRequest{CheckpointID: "one"}); err != nil {
		t.Fatal(err)
	}
	s := w.shim(id)
	if len(s.kept) != 1 || !s.kept[0].LeaveRunning || status(e, id) != ct.StateRunning {
		t.Errorf("left running: %+v, %s", s.kept, status(e, id))
	}
	done := make(chan error)
	go func() { done <- e.CheckpointCreate(ctx, id, cp.CreateRequest{CheckpointID: "two", Exit: true}) }()
	eventually(t, "the second checkpoint", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(s.kept) == 2 })
	s.finish(137)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end", func() bool { return status(e, id) == ct.StateExited })
	place := s.kept[1].Images
	if want := filepath.Join(e.parts.Config.Root, "containers", id, "checkpoints", "two"); place != want || s.kept[1].LeaveRunning {
		t.Errorf("kept in %s, want %s", place, want)
	}
	if err := e.ContainerRestore(ctx, id, "two", ""); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("from what is no checkpoint: %v", err)
	}
	if err := os.WriteFile(filepath.Join(place, "cove.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.ContainerRestore(ctx, id, "two", ""); err != nil {
		t.Fatal(err)
	}
	s = w.shim(id)
	if s.config.Checkpoint == nil || s.config.Checkpoint.Images != place || status(e, id) != ct.StateRunning {
		t.Errorf("restored: %+v, %s", s.config.Checkpoint, status(e, id))
	}
	if err := e.ContainerRestore(ctx, id, "two", ""); !errors.Is(err, errdefs.ErrNotModified) {
		t.Errorf("a second time: %v", err)
	}
	told := 0
	for _, m := range e.bus.Past() {
		if m.Action == et.ActionCheckpoint && m.Actor.ID == id {
			told++
		}
	}
	if told != 2 {
		t.Errorf("%d checkpoints are told of, want 2", told)
	}
	// By its policy it starts from its program.
	s.finish(1)
	eventually(t, "its restart", func() bool { n := w.shim(id); return n != nil && n != s && n.Started() })
	if s = w.shim(id); s.config.Checkpoint != nil {
		t.Error("the policy has started it from the checkpoint")
	}
}

// TestCheckpointFails: nothing is left, and the container and its policy are as they were.
func TestCheckpointFails(t *testing.T) {
	withCriu(t)
	w := newWorld()
	e := testEngine(t, w)
	ctx := context.Background()
	id := mustCreate(t, e, request())
	if err := e.ContainerStart(ctx, id); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.failAt = w.step + 1
	w.mu.Unlock()
	err := e.CheckpointCreate(ctx, id, cp.CreateRequest{CheckpointID: "one", Exit: true})
	if err == nil || !strings.HasPrefix(err.Error(), "cannot checkpoint container web: ") {
		t.Errorf("got %v", err)
	}
	c, _ := e.containers.Get(id)
	if c.StoppedByHand || c.State.Status != ct.StateRunning {
		t.Errorf("the container: %+v", c.State)
	}
	if left, _ := os.ReadDir(filepath.Join(e.parts.Config.Root, "containers", id, "checkpoints")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCheckpointRefusesTerminals(t *testing.T) {
	withCriu(t)
	w := newWorld()
	e := testEngine(t, w)
	ctx := context.Background()
	id := mustCreate(t, e, request(terminal))
	if err := e.ContainerRestore(ctx, id, "one", ""); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("restore: %v", err)
	}
	if err := e.ContainerStart(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := e.CheckpointCreate(ctx, id, cp.CreateRequest{CheckpointID: "one"}); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("checkpoint: %v", err)
	}
}
