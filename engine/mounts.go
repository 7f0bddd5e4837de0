package engine

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/mount"
	vt "github.com/moby/moby/api/types/volume"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/engine/storage"
	"github.com/cove-containers/cove/spec"
)

// inheritedMounts are those of the containers named with --volumes-from.
func (e *Engine) inheritedMounts(c *container.Container) ([]container.Mount, error) {
	var out []container.Mount
	for _, value := range c.HostConfig.VolumesFrom {
		ref, readOnly, err := plan.VolumesFrom(value)
		if err != nil {
			return nil, err
		}
		other, err := e.containers.Get(ref)
		if err != nil {
			// Not of kind not found: clients would think the image is missing.
			return nil, errdefs.ErrInvalidArgument.WithMessage(err.Error())
		}
		for _, m := range other.Mounts {
			if m.FromTmpfs {
				continue
			}
			m.RW = m.RW && !readOnly
			out = append(out, m)
		}
	}
	return out, nil
}

// createVolumes makes the volumes that do not exist yet, takes all into use and writes the mounts into the record.
func (e *Engine) createVolumes(ctx context.Context, c *container.Container, mounts []plan.Mount, undo *undo) error {
	var nameless []string
	for i := range mounts {
		if m := &mounts[i]; m.Type == mount.TypeVolume && m.Name == "" {
			m.Name = newID()
			m.Labels = map[string]string{"com.docker.volume.anonymous": ""}
			nameless = append(nameless, m.Name)
		}
	}
	if err := storage.Doom(c.Dir(e.parts.Config.Root), nameless); err != nil {
		return err
	}
	for i := range mounts {
		m := &mounts[i]
		switch m.Type {
		case mount.TypeVolume:
			if err := e.createVolume(ctx, c, m, undo); err != nil {
				return err
			}
		case mount.TypeImage:
			if err := e.findImage(ctx, m); err != nil {
				return err
			}
		}
		c.Mounts = append(c.Mounts, m.Mount)
	}
	return nil
}

// findImage has the image of a mount ready.
func (e *Engine) findImage(ctx context.Context, m *plan.Mount) error {
	img, err := e.images.Get(ctx, m.Source, nil)
	if err == nil {
		err = e.images.Unpacked(ctx, img)
	}
	if err != nil {
		// Not of kind not found: clients would think it is the container's image that is missing.
		return errdefs.ErrInvalidArgument.WithMessage("mount image " + m.Source + ": " + err.Error())
	}
	m.Image, m.DiffIDs = img.ID, img.DiffIDs
	return nil
}

func (e *Engine) createVolume(ctx context.Context, c *container.Container, m *plan.Mount, undo *undo) error {
	_, err := e.volumes.Get(m.Name)
	fresh := errdefs.IsNotFound(err)
	v, err := e.volumeInUse(ctx, c.ID, vt.CreateRequest{Name: m.Name, Driver: m.Driver, DriverOpts: m.DriverOptions, Labels: m.Labels})
	if fresh && v.Name != "" {
		undo.push(func() { e.volumes.Remove(context.WithoutCancel(ctx), v.Name, true) })
	}
	if errdefs.IsNotFound(err) {
		// Not of kind not found: clients would think the image is missing.
		return errdefs.ErrInvalidArgument.WithMessage(err.Error())
	}
	if err != nil {
		return err
	}
	undo.push(func() { e.volumes.Release(v.Name, c.ID) })
	m.Name, m.Driver, m.Source = v.Name, v.Driver, v.Mountpoint
	return nil
}

// volumeInUse makes the volume where it is not there, and takes it into use. One that is pruned in between is made again.
func (e *Engine) volumeInUse(ctx context.Context, containerID string, r vt.CreateRequest) (vt.Volume, error) {
	for {
		v, err := e.volumes.Create(ctx, r)
		if err != nil {
			return vt.Volume{}, err
		}
		err = e.volumes.Use(v.Name, containerID)
		if !errdefs.IsNotFound(err) || ctx.Err() != nil {
			return v, err
		}
	}
}

// copyUp fills empty volumes with what the image has where they will be mounted.
func (e *Engine) copyUp(ctx context.Context, c *container.Container, mounts []plan.Mount) error {
	var wanted []plan.Mount
	for _, m := range mounts {
		if m.Type == mount.TypeVolume && m.CopyUp {
			wanted = append(wanted, m)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	return e.layers.Look(ctx, c.ID, func(root *os.File) error {
		for _, m := range wanted {
			if _, err := e.volumes.CopyUp(ctx, m.Name, root, m.Target); err != nil {
				return fmt.Errorf("copy %s of the image into volume %s: %w", m.Target, m.Name, err)
			}
		}
		return nil
	})
}

// Mounts are the container's mounts for its runtime document. Missing sources of -v are made.
func (e *Engine) Mounts(c *container.Container) ([]spec.Mount, error) {
	return storage.Mounts(context.Background(), c, e.volumes, e.layers)
}
