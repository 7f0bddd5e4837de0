package view

import (
	"context"

	ct "github.com/moby/moby/api/types/container"
)

// ContainerChanges lists what the container has changed in its image's files; what the engine itself puts there
// does not count.
func (v *View) ContainerChanges(ctx context.Context, ref string) ([]ct.FilesystemChange, error) {
	c, err := v.parts.Containers.Get(ref)
	if err != nil {
		return nil, err
	}
	return v.parts.Layers.Changes(ctx, c.ID, "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab",
		"/dev", "/proc", "/sys", "/.dockerenv")
}
