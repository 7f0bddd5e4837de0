package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/layer"
)

var goodName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$`)

// Create makes a snapshot of a container's files. One that does not run has them frozen where they are, one that runs is
// paused while they are copied. What is mounted in it is no part of it.
func (c *Conductor) Create(ctx context.Context, reference string, r api.SnapshotCreateRequest) (api.Snapshot, error) {
	if r.Name != "" && !goodName.MatchString(r.Name) {
		return api.Snapshot{}, invalid("invalid snapshot name %q: only letters, digits and _.- are allowed, 128 at most", r.Name)
	}
	var made layer.Snapshot
	wish := layer.Snapshot{Name: r.Name, Comment: r.Comment}
	box, err := c.copied(ctx, reference, copying{
		deed: "make a snapshot of",
		still: func(ctx context.Context, box *container.Container) (err error) {
			if len(c.Layers.Snapshots(box.ID)) > 0 {
				c.squash(ctx, box)
			}
			made, err = c.Layers.Freeze(ctx, box.ID, wish)
			return err
		},
		moving: func(ctx context.Context, box *container.Container, done func()) (err error) {
			made, err = c.Layers.Photograph(ctx, box.ID, wish, done)
			return err
		},
		undo: func(ctx context.Context) error { return c.Layers.Forget(ctx, made) },
	})
	if err != nil {
		return api.Snapshot{}, fmt.Errorf("make a snapshot: %w", err)
	}
	c.tell(box, "snapshot", "snapshot", made.ID, "snapshotName", made.Name)
	return describe(made, -1), nil // counting it would take longer than making it
}

// copying is a deed that takes the files of a container as they are at one moment.
type copying struct {
	deed string
	// still takes them from a container that does not run and cannot be started meanwhile; moving from one that runs, and
	// calls done when it may go on; undo takes back what moving has made.
	still  func(ctx context.Context, box *container.Container) error
	moving func(ctx context.Context, box *container.Container, done func()) error
	undo   func(ctx context.Context) error
}

// copyTries is how often a container is copied anew that did not stay as it was meanwhile: one that ends just then is at
// rest the next time.
const copyTries = 3

var errMoved = errors.New("it did not stay as it was while it was copied: try again")

// copied does it in the way that the container's state asks for.
func (c *Conductor) copied(ctx context.Context, reference string, do copying) (box *container.Container, err error) {
	for range copyTries {
		box, err = c.copiedOnce(ctx, reference, do)
		if !errors.Is(err, errMoved) {
			return box, err
		}
		select {
		case <-ctx.Done():
			return box, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return box, fmt.Errorf("container %s: %w: %w", box.Name, err, errdefs.ErrConflict)
}

func (c *Conductor) copiedOnce(ctx context.Context, reference string, do copying) (*container.Container, error) {
	box, err := c.whole(reference, do.deed)
	if err != nil {
		return nil, err
	}
	if !box.State.Alive() {
		box, release, err := c.hold(ctx, box.ID, do.deed)
		if err != nil {
			return nil, err
		}
		if !box.State.Alive() {
			defer release()
			return box, do.still(ctx, box)
		}
		release() // somebody has started it
	}
	if box, err = c.whole(box.ID, do.deed); err != nil {
		return nil, err
	}
	goOn, err := c.still(ctx, box)
	if err != nil {
		return nil, err
	}
	defer goOn()
	before, err := c.whole(box.ID, do.deed)
	if err != nil {
		return nil, err
	}
	moved := false
	err = do.moving(ctx, box, func() {
		now, err := c.Containers.Get(box.ID)
		moved = err != nil || before.State.Status != now.State.Status || !before.State.StartedAt.Equal(now.State.StartedAt)
		goOn()
	})
	if err == nil && moved {
		if err = do.undo(context.WithoutCancel(ctx)); err == nil {
			err = errMoved
		}
	}
	return box, err
}

// hold finds a container and keeps everybody else from acting on it.
func (c *Conductor) hold(ctx context.Context, reference, deed string) (*container.Container, func(), error) {
	box, err := c.whole(reference, deed)
	if err != nil {
		return nil, nil, err
	}
	release, err := c.Containers.Lock(ctx, box.ID)
	if err != nil {
		return nil, nil, err
	}
	if box, err = c.whole(box.ID, deed); err != nil {
		release()
		return nil, nil, err
	}
	return box, release, nil
}

// List describes the snapshots of a container, the oldest first.
func (c *Conductor) List(_ context.Context, reference string) ([]api.Snapshot, error) {
	box, err := c.Containers.Get(reference)
	if err != nil {
		return nil, err
	}
	list := []api.Snapshot{}
	for _, snap := range c.Layers.Snapshots(box.ID) {
		size, err := c.Layers.SnapshotUsage(snap)
		if err != nil { // removed meanwhile
			size = -1
		}
		list = append(list, describe(snap, size))
	}
	return list, nil
}

func describe(snap layer.Snapshot, size int64) api.Snapshot {
	return api.Snapshot{ID: snap.ID, Name: snap.Name, Comment: snap.Comment, Created: snap.Created, Size: size}
}

// Remove deletes a snapshot. What others, or the container, stand on stays on disk until they are gone too.
func (c *Conductor) Remove(ctx context.Context, reference, snapshot string) error {
	box, release, err := c.hold(ctx, reference, "remove a snapshot of")
	if err != nil {
		return err
	}
	defer release()
	_, snap, err := c.find(box.ID, snapshot)
	if err != nil {
		return err
	}
	if err := c.Layers.Forget(ctx, snap); err != nil {
		return err
	}
	if !box.State.Alive() {
		c.squash(ctx, box)
	}
	c.tell(box, "snapshot_remove", "snapshot", snap.ID, "snapshotName", snap.Name)
	return nil
}

// squash puts together what need not be kept apart any more. Nobody's wish fails over it.
func (c *Conductor) squash(ctx context.Context, box *container.Container) {
	if err := c.Layers.Squash(ctx, box.ID); err != nil {
		slog.Warn("what is left of removed snapshots could not be merged", "container", box.ID, "error", err)
	}
}

// Rollback gives a container that does not run the files it had when the snapshot was made.
func (c *Conductor) Rollback(ctx context.Context, reference, snapshot string) error {
	box, release, err := c.hold(ctx, reference, "roll back")
	if err != nil {
		return err
	}
	defer release()
	if box.State.Busy() {
		return errdefs.ErrConflict.WithMessage(fmt.Sprintf("container %s is %s: stop it before it is rolled back", box.Name, box.State.Status))
	}
	_, snap, err := c.find(box.ID, snapshot)
	if err != nil {
		return err
	}
	if err := c.Layers.Rollback(ctx, snap); err != nil {
		return err
	}
	c.tell(box, "rollback", "snapshot", snap.ID, "snapshotName", snap.Name)
	return nil
}

// Changes lists what has changed since a snapshot: until another one, or until now when until is empty.
func (c *Conductor) Changes(ctx context.Context, reference, snapshot, until string) ([]ct.FilesystemChange, error) {
	box, from, err := c.find(reference, snapshot)
	if err != nil {
		return nil, err
	}
	var to *layer.Snapshot
	if until != "" {
		_, other, err := c.find(box.ID, until)
		if err != nil {
			return nil, err
		}
		to = &other
	}
	return c.Layers.ChangesSince(ctx, from, to, "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab",
		"/dev", "/proc", "/sys", "/.dockerenv")
}

// find looks a snapshot up by its name, its ID or the beginning of its ID.
func (c *Conductor) find(reference, snapshot string) (*container.Container, layer.Snapshot, error) {
	box, err := c.Containers.Get(reference)
	if err != nil {
		return nil, layer.Snapshot{}, err
	}
	var hits []layer.Snapshot
	for _, snap := range c.Layers.Snapshots(box.ID) {
		if snapshot != "" && (snap.Name == snapshot || snap.ID == snapshot) {
			return box, snap, nil
		}
		if snapshot != "" && strings.HasPrefix(snap.ID, snapshot) {
			hits = append(hits, snap)
		}
	}
	switch len(hits) {
	case 1:
		return box, hits[0], nil
	case 0:
		return nil, layer.Snapshot{}, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("No such snapshot of container %s: %s", box.Name, snapshot))
	}
	return nil, layer.Snapshot{}, invalid("%q is the beginning of the IDs of %d snapshots", snapshot, len(hits))
}
