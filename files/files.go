// Package files copies files into and out of containers, and whole file systems out of them, in every state a
// container can be in.
//
// What is worked on is a view of the container: its root file system with its volumes, binds and tmpfs mounts on it,
// put together on a thread that has a mount namespace of its own, which ends with the work. The host's mount table
// never shows it. The root of a running container is a copy of the very mount it runs on, taken inside its mount
// namespace, since a writable layer must not be mounted twice at a time; that of any other is mounted for the
// occasion. The kernel's own file systems (proc, sys, dev) are no part of a view.
//
// Every name is resolved below the view's root, by the kernel's RESOLVE_IN_ROOT or by package archive, while programs
// in the container may change links and directories as they like: what they can reach by that is their own container.
// Devices in a view cannot be opened, whoever put them there.
package files

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/containerd/errdefs"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/spec"
	"github.com/cove-containers/cove/sys"
)

// Parts are what a Copier works with.
type Parts struct {
	Containers *container.Store
	Layers     *layer.Store
	// Mounts resolves the mounts a container has when it runs.
	Mounts func(*container.Container) ([]spec.Mount, error)
	// Publish tells the world what happened.
	Publish func(et.Message)
	// Root is the daemon's data root.
	Root string
}

// Copier copies files between containers and clients. It is safe for concurrent use.
type Copier struct{ parts Parts }

// New returns a Copier.
func New(p Parts) *Copier { return &Copier{p} }

// Line is what a copy knows of its client's connection.
type Line struct {
	// Cut makes reads and writes that wait for the client fail: nobody else ends a copy whose client has fallen
	// asleep. It may be called when the copy is over.
	Cut func()
}

// patience is how long a client that sends nothing may keep others waiting for the container.
const patience = 5 * time.Second

// work shows do a view of the container, for as long as it runs. It ends when the files are deleted meanwhile.
func (f *Copier) work(ctx context.Context, ref string, writes bool, line Line, do func(context.Context, *view) error) error {
	v, err := f.open(ctx, ref, writes)
	if err != nil {
		return err
	}
	defer v.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if line.Cut != nil {
		stop := context.AfterFunc(ctx, line.Cut)
		defer stop()
	}
	watched := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(watched)
		v.watch(done, cancel)
	}()
	defer func() {
		close(done)
		<-watched
	}()
	err = sys.WithPrivateMount(v.root, "/", func() error {
		defer sys.DetachMount(v.root)
		if err := v.numbers.actAsRoot(); err != nil {
			return err
		}
		if err := v.assemble(); err != nil {
			return fmt.Errorf("put together the files of container %s: %w", v.c.ID, err)
		}
		v.stands()
		return do(ctx, v)
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil && v.gone(): // what was missing by then may have passed for all there is
		return v.errGone()
	}
	return err
}

func (v *view) gone() bool {
	select {
	case <-v.hold.Gone:
		return true
	default:
		return false
	}
}

// watch ends the work when the container goes, or when somebody waits for it and the client does nothing.
func (v *view) watch(done <-chan struct{}, cancel context.CancelCauseFunc) {
	select {
	case <-done:
		return
	case <-v.hold.Gone:
		cancel(v.errGone())
		return
	case <-v.wanted:
	}
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for before := v.moved.Load(); ; {
		select {
		case <-done:
			return
		case <-v.hold.Gone:
			cancel(v.errGone())
			return
		case <-tick.C:
		}
		now := v.moved.Load()
		if now == before {
			cancel(errdefs.ErrConflict.WithMessage("container " + v.c.ID + " is needed, and nothing came to be copied into it"))
			return
		}
		before = now
	}
}

// errGone is why a copy ends whose files are deleted.
func (v *view) errGone() error {
	return errdefs.ErrConflict.WithMessage("container " + v.c.ID + " was removed, or rolled back, while its files were copied")
}

// event tells what was done with a container's files.
func (f *Copier) event(c *container.Container, action et.Action) {
	attrs := maps.Clone(c.Config.Labels)
	if attrs == nil {
		attrs = map[string]string{}
	}
	attrs["image"], attrs["name"] = c.Config.Image, c.Name
	f.parts.Publish(et.Message{Type: et.ContainerEventType, Action: action, Actor: et.Actor{ID: c.ID, Attributes: attrs}})
}
