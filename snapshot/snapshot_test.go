package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/state"
)

// pauser stands in for the kernel's freezer.
type pauser struct {
	calls  []string
	refuse error
}

func (p *pauser) ContainerPause(_ context.Context, id string) error {
	p.calls = append(p.calls, "pause "+id)
	return p.refuse
}

func (p *pauser) ContainerUnpause(_ context.Context, id string) error {
	p.calls = append(p.calls, "unpause "+id)
	return p.refuse
}

func newConductor(t *testing.T) (*Conductor, *pauser) {
	t.Helper()
	dir := t.TempDir()
	db, err := state.Open(filepath.Join(dir, "cove.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	p := &pauser{}
	parts := Parts{Pauser: p, DB: db, Tell: func(et.Message) {}}
	if parts.Containers, err = container.Open(db); err != nil {
		t.Fatal(err)
	}
	if parts.Layers, err = layer.Open(filepath.Join(dir, "layers"), db); err != nil {
		t.Fatal(err)
	}
	c, err := New(t.Context(), parts)
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

// box records a container that is in a state.
func (c *Conductor) box(t *testing.T, id string, status ct.ContainerState) *container.Container {
	t.Helper()
	name, err := c.Containers.Reserve(id, id)
	if err != nil {
		t.Fatal(err)
	}
	box := &container.Container{ID: id, Name: name, Config: &ct.Config{}, HostConfig: &ct.HostConfig{}, State: container.State{Status: status}}
	if err := c.Containers.Create(box); err != nil {
		t.Fatal(err)
	}
	return box
}

// TestStill pauses what runs, and only that, and lets it go on once.
func TestStill(t *testing.T) {
	c, p := newConductor(t)
	for _, test := range []struct {
		status ct.ContainerState
		refuse error
		want   []string
		fails  bool
	}{
		{ct.StateRunning, nil, []string{"pause x", "unpause x"}, false},
		{ct.StatePaused, nil, nil, false},
		{ct.StateExited, nil, nil, false},
		{ct.StateRunning, errdefs.ErrConflict, []string{"pause x"}, false},
		{ct.StateRunning, fmt.Errorf("its cgroup: %w", fs.ErrNotExist), []string{"pause x"}, false},
		{ct.StateRunning, errors.New("broken"), []string{"pause x"}, true},
	} {
		p.calls, p.refuse = nil, test.refuse
		release, err := c.still(t.Context(), &container.Container{ID: "x", State: container.State{Status: test.status}})
		if (err != nil) != test.fails {
			t.Errorf("%s, %v: %v", test.status, test.refuse, err)
		}
		if err == nil {
			release()
			release()
		}
		if !slices.Equal(p.calls, test.want) {
			t.Errorf("%s, %v: %q, want %q", test.status, test.refuse, p.calls, test.want)
		}
		if left := c.left(t); len(left) > 0 {
			t.Errorf("%s, %v: counts as paused afterwards: %v", test.status, test.refuse, left)
		}
	}
}

// left are the containers that a crash at this moment would let go on.
func (c *Conductor) left(t *testing.T) map[string]bool {
	t.Helper()
	if err := c.DB.Update(func(*state.Tx) error { return nil }); err != nil { // takes along what was left for later
		t.Fatal(err)
	}
	left, err := c.paused.All()
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// TestKilledOverAPause lets those go on that an earlier daemon had paused, also if that needs another start.
func TestKilledOverAPause(t *testing.T) {
	c, p := newConductor(t)
	if _, err := c.still(t.Context(), &container.Container{ID: "x", State: container.State{Status: ct.StateRunning}}); err != nil {
		t.Fatal(err)
	}
	for _, refuse := range []error{errors.New("broken"), nil} {
		p.calls, p.refuse = nil, refuse
		if _, err := New(t.Context(), c.Parts); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(p.calls, []string{"unpause x"}) {
			t.Errorf("%v: a new daemon did %q", refuse, p.calls)
		}
		if left := c.left(t); left["x"] != (refuse != nil) {
			t.Errorf("%v: counts as paused afterwards: %v", refuse, left)
		}
	}
}

// TestStillTwice: the record that a container is paused stays as long as one of two deeds needs it.
func TestStillTwice(t *testing.T) {
	c, p := newConductor(t)
	box := &container.Container{ID: "x", State: container.State{Status: ct.StateRunning}}
	release, err := c.still(t.Context(), box)
	if err != nil {
		t.Fatal(err)
	}
	p.refuse = errdefs.ErrConflict // paused already
	second, err := c.still(t.Context(), box)
	if err != nil {
		t.Fatal(err)
	}
	second()
	if left := c.left(t); !left["x"] {
		t.Error("a crash now would leave the container paused")
	}
	p.refuse = nil
	release()
	if left := c.left(t); len(left) > 0 {
		t.Errorf("counts as paused afterwards: %v", left)
	}
}

// TestRefused has the container's state decide what may be done.
func TestRefused(t *testing.T) {
	c, _ := newConductor(t)
	ctx := t.Context()
	for _, status := range []ct.ContainerState{ct.StateRunning, ct.StatePaused, ct.StateRestarting, ct.StateDead, ct.StateRemoving} {
		c.box(t, string(status), status)
		if err := c.Rollback(ctx, string(status), "s"); !errdefs.IsConflict(err) {
			t.Errorf("rolled back while it is %s: %v", status, err)
		}
	}
	c.box(t, "gone", ct.StateDead)
	_, committed := c.Commit(ctx, "gone", CommitOptions{})
	_, kept := c.Create(ctx, "gone", api.SnapshotCreateRequest{})
	_, cloned := c.Clone(ctx, "gone", api.CloneRequest{})
	for _, err := range []error{committed, kept, cloned} {
		if !errdefs.IsConflict(err) {
			t.Errorf("of a dead container: %v", err)
		}
	}
	c.box(t, "fine", ct.StateExited)
	if _, err := c.Create(ctx, "fine", api.SnapshotCreateRequest{Name: "-x"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a bad name: %v", err)
	}
	for _, err := range []error{c.Rollback(ctx, "fine", "s"), c.Remove(ctx, "fine", ""), c.Remove(ctx, "nosuch", "s")} {
		if !errdefs.IsNotFound(err) {
			t.Errorf("no such snapshot or container: %v", err)
		}
	}
}

// TestCopiedAnew copies a container again that moved, takes back what was made of it, and at last gives up.
func TestCopiedAnew(t *testing.T) {
	c, _ := newConductor(t)
	c.box(t, "x", ct.StatePaused)
	made, undone := 0, 0
	_, err := c.copied(t.Context(), "x", copying{
		deed: "copy",
		moving: func(_ context.Context, box *container.Container, done func()) error {
			made++
			status := ct.StateRunning // somebody lets it go on under the copier's hands
			if made%2 == 0 {
				status = ct.StatePaused
			}
			_, err := c.Containers.Keep("x", func(b *container.Container) error {
				b.State = b.State.With(status)
				return nil
			})
			done()
			return err
		},
		undo: func(context.Context) error { undone++; return nil },
	})
	if !errdefs.IsConflict(err) || made != copyTries || undone != copyTries {
		t.Errorf("copied %d times, undone %d times: %v", made, undone, err)
	}
}
