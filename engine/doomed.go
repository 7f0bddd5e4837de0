package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/cove-containers/cove/container"
)

// A container's folder has a file "volumes" while the container is made, and again while it is removed with its
// volumes: the anonymous ones, which go if that is cut short, for nobody else knows their names.

func doomedFile(folder string) string { return filepath.Join(folder, "volumes") }

// doom writes down which anonymous volumes go with the container.
func doom(folder string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if err := os.WriteFile(doomedFile(folder), []byte(strings.Join(names, "\n")), 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note the container's volumes: %w", err)
	}
	return nil
}

// spare takes back what doom wrote, once the container is there.
func spare(folder string) { os.Remove(doomedFile(folder)) }

// doomed tells whether the container was to be removed with its volumes.
func doomed(folder string) bool {
	_, err := os.Stat(doomedFile(folder))
	return err == nil
}

// removeDoomed removes the volumes of a container that is not there, unless others use them.
func (e *Engine) removeDoomed(ctx context.Context, folder string) {
	raw, err := os.ReadFile(doomedFile(folder))
	if err != nil {
		return
	}
	for name := range strings.FieldsSeq(string(raw)) {
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
