package engine

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	vt "github.com/moby/moby/api/types/volume"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
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
	if err := doom(c.Dir(e.parts.Config.Root), nameless); err != nil {
		return err
	}
	for i := range mounts {
		m := &mounts[i]
		if m.Type == mount.TypeVolume {
			if err := e.createVolume(ctx, c, m, undo); err != nil {
				return err
			}
		}
		c.Mounts = append(c.Mounts, m.Mount)
	}
	return nil
}

func (e *Engine) createVolume(ctx context.Context, c *container.Container, m *plan.Mount, undo *undo) error {
	_, err := e.volumes.Get(m.Name)
	fresh := errdefs.IsNotFound(err)
	v, err := e.volumeInUse(ctx, c.ID, vt.CreateRequest{Name: m.Name, Driver: m.Driver, DriverOpts: m.DriverOptions, Labels: m.Labels})
	if fresh && v.Name != "" {
		undo.push(func() { e.volumes.Remove(context.WithoutCancel(ctx), v.Name, true) })
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
	out := make([]spec.Mount, 0, len(c.Mounts))
	for _, m := range c.Mounts {
		var s spec.Mount
		var err error
		switch m.Type {
		case mount.TypeVolume:
			s, err = e.volumeMount(m)
		case mount.TypeTmpfs:
			s, err = tmpfsMount(m)
		default:
			s, err = bindMount(m)
		}
		if err != nil {
			return nil, err
		}
		s.Target, s.ReadOnly = m.Target, !m.RW
		out = append(out, s)
	}
	return out, nil
}

func (e *Engine) volumeMount(m container.Mount) (spec.Mount, error) {
	v, err := e.volumes.Mount(m.Name)
	if err != nil {
		return spec.Mount{}, err
	}
	s := spec.Mount{Type: v.Type, Source: v.Source, Options: v.Options}
	if m.Spec != nil && m.Spec.VolumeOptions != nil {
		s.Subpath = m.Spec.VolumeOptions.Subpath
	}
	return s, nil
}

func tmpfsMount(m container.Mount) (spec.Mount, error) {
	s := spec.Mount{Type: "tmpfs", Source: "tmpfs"}
	var err error
	if m.Spec != nil {
		s.Options, err = plan.TmpfsOptions(m.Spec.TmpfsOptions, m.Spec.ReadOnly)
	} else {
		s.Options, err = plan.FlagOptions(m.Options)
	}
	return s, err
}

func bindMount(m container.Mount) (spec.Mount, error) {
	s := spec.Mount{Type: "bind", Source: m.Source, Propagation: string(m.Propagation)}
	create := m.Spec == nil
	if m.Spec != nil && m.Spec.BindOptions != nil {
		o := m.Spec.BindOptions
		s.NonRecursive, s.ReadOnlyNonRecursive = o.NonRecursive, o.ReadOnlyNonRecursive
		create = o.CreateMountpoint
	}
	if !create {
		return s, nil
	}
	if err := os.MkdirAll(m.Source, 0o755); err != nil {
		if info, statErr := os.Stat(m.Source); statErr == nil && !info.IsDir() {
			return s, nil
		}
		return s, fmt.Errorf("error while creating mount source path '%s': %w", m.Source, err)
	}
	return s, nil
}

// mountPoints are the container's mounts as the API shows them.
func (e *Engine) mountPoints(c *container.Container) []ct.MountPoint {
	out := []ct.MountPoint{}
	for _, m := range c.Mounts {
		if m.FromTmpfs {
			continue
		}
		out = append(out, ct.MountPoint{
			Type: m.Type, Name: m.Name, Source: m.Source, Destination: m.Target, Driver: m.Driver,
			Mode: m.Mode, RW: m.RW, Propagation: m.Propagation,
		})
	}
	return out
}

// volumeEvents tells which volumes a container began or ceased to use.
func (e *Engine) volumeEvents(c *container.Container, action et.Action) {
	for _, m := range c.Mounts {
		if m.Type != mount.TypeVolume {
			continue
		}
		attrs := map[string]string{"container": c.ID, "driver": m.Driver}
		if action == et.ActionMount {
			attrs["destination"], attrs["propagation"], attrs["read/write"] = m.Target, string(m.Propagation), strconv.FormatBool(m.RW)
		}
		e.log(et.VolumeEventType, action, m.Name, attrs)
	}
}
