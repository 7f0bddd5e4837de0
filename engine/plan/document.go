package plan

import (
	ct "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/spec"
)

// Document is a mount in the words of the runtime document, as far as its record tells: the source of a volume and the
// layers of an image are their keepers' to add.
func Document(m container.Mount) (spec.Mount, error) {
	s := spec.Mount{Target: m.Target, ReadOnly: !m.RW}
	var err error
	switch m.Type {
	case mount.TypeVolume:
		if m.Spec != nil && m.Spec.VolumeOptions != nil {
			s.Subpath = m.Spec.VolumeOptions.Subpath
		}
	case mount.TypeImage:
		if m.Spec != nil && m.Spec.ImageOptions != nil {
			s.Subpath = m.Spec.ImageOptions.Subpath
		}
	case mount.TypeTmpfs:
		s.Type, s.Source = "tmpfs", "tmpfs"
		if m.Spec != nil {
			s.Options, err = TmpfsOptions(m.Spec.TmpfsOptions, m.Spec.ReadOnly)
		} else {
			s.Options, err = FlagOptions(m.Options)
		}
	default:
		s.Type, s.Source, s.Propagation = "bind", m.Source, string(m.Propagation)
		if m.Spec != nil && m.Spec.BindOptions != nil {
			s.NonRecursive, s.ReadOnlyNonRecursive = m.Spec.BindOptions.NonRecursive, m.Spec.BindOptions.ReadOnlyNonRecursive
		}
	}
	return s, err
}

// Makes tells whether a bind's source is made where it is missing.
func Makes(m container.Mount) bool {
	return m.Type == mount.TypeBind && (m.Spec == nil || m.Spec.BindOptions != nil && m.Spec.BindOptions.CreateMountpoint)
}

// OnLayers completes the mount of an image whose layers lie in these directories, topmost first.
func OnLayers(s spec.Mount, lower []string) spec.Mount {
	if len(lower) == 1 { // overlayfs wants two
		s.Type, s.Source = "bind", lower[0]
		return s
	}
	s.Type, s.Source = "overlay", "overlay"
	for _, dir := range lower {
		s.Options = append(s.Options, "lowerdir+="+dir)
	}
	return s
}

// MountPoints are a container's mounts as the API shows them.
func MountPoints(c *container.Container) []ct.MountPoint {
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
