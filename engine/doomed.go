package engine

import (
	"context"

	"github.com/moby/moby/api/types/mount"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/storage"
)

// removeDoomed removes the volumes of a container that is not there, unless others use them.
func (e *Engine) removeDoomed(ctx context.Context, folder string) {
	names, _ := storage.Doomed(folder)
	for _, name := range names {
		if !e.volumes.Anonymous(name) || len(e.volumes.Users(name)) > 0 {
			continue
		}
		if err := e.volumes.Remove(ctx, name, true); err != nil {
			e.log_.Error("could not remove a leftover volume", "volume", name, "error", err)
		}
	}
}

// anonymousVolumes are the volumes that were made for a container without a name.
func (e *Engine) anonymousVolumes(c *container.Container) []string {
	var names []string
	for _, m := range c.Mounts {
		if m.Type == mount.TypeVolume && e.volumes.Anonymous(m.Name) {
			names = append(names, m.Name)
		}
	}
	return names
}
