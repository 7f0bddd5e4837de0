// Package snapshot keeps what a container has made of its files: as an image, as a snapshot that the container can be
// rolled back to, as another container that goes on from there. It conducts the keepers of containers, images and
// layers; what it needs of the engine comes in with its parts. Of its own it keeps one table, of the containers that it
// has paused for a moment, so that a crash does not leave them so.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"sync"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/state"
)

// Parts are what a Conductor works with.
type Parts struct {
	Containers *container.Store
	Images     *image.Store
	Layers     *layer.Store
	Pauser     Pauser
	Maker      Maker
	// Tell hears of what happened to containers.
	Tell func(et.Message)
	DB   *state.DB
}

// Pauser freezes the processes of a container and lets them go on; the engine does.
type Pauser interface {
	ContainerPause(ctx context.Context, ref string) error
	ContainerUnpause(ctx context.Context, ref string) error
}

// Maker makes containers, and removes one again.
type Maker interface {
	ContainerMake(ctx context.Context, t Twin) (ct.CreateResponse, error)
	ContainerUnmake(ctx context.Context, id string) error
}

// Conductor makes images and snapshots of containers. It is safe for concurrent use.
type Conductor struct {
	Parts
	paused *state.Table[bool]

	mu     sync.Mutex
	pauses map[string]int // how many deeds need the record that a container is paused
}

// New lets those containers go on that an earlier daemon was killed over.
func New(ctx context.Context, parts Parts) (*Conductor, error) {
	paused, err := state.NewTable[bool](parts.DB, "snapshot-pauses")
	if err != nil {
		return nil, err
	}
	c := &Conductor{Parts: parts, paused: paused, pauses: map[string]int{}}
	left, err := paused.All()
	if err != nil {
		return nil, err
	}
	for id := range left {
		if err := c.unpause(ctx, id); err != nil {
			slog.Warn("a container that was paused to be copied does not go on", "container", id, "error", err)
			continue
		}
		paused.DeleteLater(id)
	}
	return c, nil
}

// still freezes a running container until the result is called. One that is paused already stays so, one that does not
// run is still anyway.
func (c *Conductor) still(ctx context.Context, box *container.Container) (release func(), err error) {
	if box.State.Status != ct.StateRunning {
		return func() {}, nil
	}
	if err := c.record(box.ID); err != nil {
		return nil, err
	}
	err = c.Pauser.ContainerPause(ctx, box.ID)
	if err != nil {
		c.strike(box.ID)
		if errdefs.IsConflict(err) || errdefs.IsNotFound(err) || errors.Is(err, fs.ErrNotExist) { // it has ended, or is about to, or somebody else has paused it
			return func() {}, nil
		}
		return nil, err
	}
	return sync.OnceFunc(func() {
		if err := c.unpause(context.WithoutCancel(ctx), box.ID); err != nil {
			slog.Error("a container does not go on after it was copied", "container", box.ID, "error", err)
			return // the record stays: the next daemon tries again
		}
		c.strike(box.ID)
	}), nil
}

// record writes that a container is paused, before it is.
func (c *Conductor) record(id string) error {
	c.mu.Lock()
	c.pauses[id]++
	c.mu.Unlock()
	err := c.paused.Put(id, true)
	if err != nil {
		c.strike(id)
	}
	return err
}

// strike takes the record back, unless another deed has paused the container, or is about to.
func (c *Conductor) strike(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pauses[id]--; c.pauses[id] == 0 {
		delete(c.pauses, id)
		c.paused.DeleteLater(id)
	}
}

// unpause lets a container go on; that it has ended or goes on already is no error.
func (c *Conductor) unpause(ctx context.Context, id string) error {
	err := c.Pauser.ContainerUnpause(ctx, id)
	if err != nil && !errdefs.IsConflict(err) && !errdefs.IsNotFound(err) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// whole finds a container that is not being removed.
func (c *Conductor) whole(ref, deed string) (*container.Container, error) {
	box, err := c.Containers.Get(ref)
	if err != nil {
		return nil, err
	}
	switch box.State.Status {
	case ct.StateDead:
		return nil, errdefs.ErrConflict.WithMessage(fmt.Sprintf("You cannot %s container %s which is Dead", deed, box.ID))
	case ct.StateRemoving:
		return nil, errdefs.ErrConflict.WithMessage(fmt.Sprintf("You cannot %s container %s which is being removed", deed, box.ID))
	}
	return box, nil
}

// tell publishes what was done with a container; extra are attributes in pairs.
func (c *Conductor) tell(box *container.Container, action et.Action, extra ...string) {
	attrs := maps.Clone(box.Config.Labels)
	if attrs == nil {
		attrs = map[string]string{}
	}
	attrs["image"], attrs["name"] = box.Config.Image, box.Name
	for i := 0; i+1 < len(extra); i += 2 {
		attrs[extra[i]] = extra[i+1]
	}
	c.Tell(et.Message{Type: et.ContainerEventType, Action: action, Actor: et.Actor{ID: box.ID, Attributes: attrs}})
}
