// Package storage resolves what containers mount: the folders and file systems of volumes, the layers of images, paths
// of the host. It keeps in step what is mounted once for all containers that use it, and who that is, over restarts of
// the daemon: see volume.Mount.
package storage

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/shim"
	"github.com/cove-containers/cove/spec"
	"github.com/cove-containers/cove/volume"
)

// Keeper is the keeper of volumes.
type Keeper = volume.Store

// Volumes mounts volumes.
type Volumes interface {
	Mount(name string) (volume.Mount, error)
	Enter(name, containerID string) error
	Leave(name, containerID string)
	Resume(name, containerID string, room *os.File)
}

// Layers finds the trees of images.
type Layers interface {
	Stack(ctx context.Context, diffIDs []digest.Digest) ([]string, error)
}

// Supervisor keeps files open that outlive the daemon.
type Supervisor interface {
	Keep(ctx context.Context, name string, file *os.File) error
	Kept(ctx context.Context, name string) (*os.File, error)
}

// Mounts are the container's mounts for its runtime document. Missing sources of -v are made.
func Mounts(ctx context.Context, c *container.Container, volumes Volumes, layers Layers) ([]spec.Mount, error) {
	out := make([]spec.Mount, 0, len(c.Mounts))
	for _, m := range c.Mounts {
		s, err := plan.Document(m)
		switch {
		case err != nil:
		case m.Type == mount.TypeVolume:
			var v volume.Mount
			v, err = volumes.Mount(m.Name)
			s.Type, s.Source, s.Options, s.Room = v.Type, v.Source, v.Options, v.Room
			s.Owned, s.MayOwn = v.Own || v.Room != nil, v.Room != nil
		case m.Type == mount.TypeImage:
			var lower []string
			lower, err = layers.Stack(ctx, m.DiffIDs)
			s = plan.OnLayers(s, lower)
			s.Owned = true
		case plan.Makes(m):
			err = makeSource(m.Source)
		}
		if err == nil {
			err = checkPropagation(s)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// makeSource makes a directory to bind, unless there is something else already.
func makeSource(source string) error {
	if err := os.MkdirAll(source, 0o755); err != nil {
		if info, statErr := os.Stat(source); statErr == nil && !info.IsDir() {
			return nil
		}
		return fmt.Errorf("error while creating mount source path '%s': %w", source, err)
	}
	return nil
}

// Enter mounts the container's volumes, as far as they are not folders; when it fails none is left mounted for it.
func Enter(c *container.Container, volumes Volumes) error {
	for _, m := range c.Mounts {
		if m.Type != mount.TypeVolume {
			continue
		}
		if err := volumes.Enter(m.Name, c.ID); err != nil {
			Leave(c, volumes)
			return err
		}
	}
	return nil
}

// Leave ends what Enter began. It may be called again.
func Leave(c *container.Container, volumes Volumes) {
	for _, m := range c.Mounts {
		if m.Type == mount.TypeVolume {
			volumes.Leave(m.Name, c.ID)
		}
	}
}

// Keep has the supervisor hold what the container's volumes are mounted in, for the runtime and for the next daemon.
func Keep(ctx context.Context, mounts []spec.Mount, sup Supervisor) error {
	for _, m := range mounts {
		if m.Room == nil {
			continue
		}
		if err := sup.Keep(ctx, shim.RoomOf(m.Source), m.Room); err != nil {
			return fmt.Errorf("hand over volume %s: %w", m.Source, err)
		}
	}
	return nil
}

// Resume takes up the volumes of a container that runs since before this daemon.
func Resume(ctx context.Context, c *container.Container, volumes Volumes, sup Supervisor) error {
	for _, m := range c.Mounts {
		if m.Type != mount.TypeVolume {
			continue
		}
		v, err := volumes.Mount(m.Name)
		if err != nil || v.Type == "bind" && v.Room == nil {
			continue // a folder, or it is gone
		}
		room, err := sup.Kept(ctx, shim.RoomOf(m.Source))
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("take up volume %s: %w", m.Name, err)
		}
		volumes.Resume(m.Name, c.ID, room)
	}
	return nil
}
