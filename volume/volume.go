// Package volume keeps named and anonymous volumes.
package volume

import (
	"context"
	"os"

	"github.com/containerd/errdefs"
	vt "github.com/moby/moby/api/types/volume"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/state"
)

// Store owns the volumes under one folder. It is safe for concurrent use.
type Store struct{}

// Open reads the volumes under root, puts right what a crash left, and removes what is no volume's.
func Open(root string, db *state.DB) (*Store, error) { return nil, errdefs.ErrNotImplemented }

// Create makes a volume, or returns the one that already has the name and the same driver options.
func (s *Store) Create(ctx context.Context, req vt.CreateRequest) (vt.Volume, error) {
	return vt.Volume{}, errdefs.ErrNotImplemented
}

// Get returns the volume called name, or errdefs.ErrNotFound.
func (s *Store) Get(name string) (vt.Volume, error) { return vt.Volume{}, errdefs.ErrNotImplemented }

// List returns the volumes that the filters (dangling, driver, label, name) let through, by name.
func (s *Store) List(filters api.Filters) ([]vt.Volume, error) { return nil, errdefs.ErrNotImplemented }

// Remove removes a volume that no container uses; an absent one is no error with force.
func (s *Store) Remove(ctx context.Context, name string, force bool) error {
	return errdefs.ErrNotImplemented
}

// Prune removes unused volumes: the anonymous ones, or with filter all=1 every one.
func (s *Store) Prune(ctx context.Context, filters api.Filters) (vt.PruneReport, error) {
	return vt.PruneReport{}, errdefs.ErrNotImplemented
}

// Use notes that the container uses the volume, so that it cannot be removed. The volume must exist.
func (s *Store) Use(name, containerID string) error { return errdefs.ErrNotImplemented }

// Release ends every use of the volume by the container.
func (s *Store) Release(name, containerID string) {}

// Users returns the containers that use the volume.
func (s *Store) Users(name string) []string { return nil }

// Anonymous tells whether the volume was made without a name.
func (s *Store) Anonymous(name string) bool { return false }

// Path is the volume's folder on the host.
func (s *Store) Path(name string) string { return "" }

// Mount tells how the volume is mounted in a container: its folder bound, or a file system of its own.
type Mount struct {
	// Type is "bind" or a file system such as "tmpfs" or "nfs".
	Type string
	// Source is the folder to bind, or what the file system takes as its source.
	Source string
	// Options in the words of mount(8).
	Options []string
}

// Mount returns how to mount the volume. It is mounted in the container's own mount namespace, never on the host.
func (s *Store) Mount(name string) (Mount, error) { return Mount{}, errdefs.ErrNotImplemented }

// CopyUp fills an empty volume with what the image has at the place where the volume will be: entries, owner and mode of src.
// It tells whether it copied. A volume that is not empty, or not a plain folder, stays as it is.
func (s *Store) CopyUp(ctx context.Context, name string, src *os.File) (bool, error) {
	return false, errdefs.ErrNotImplemented
}

// Usage returns the bytes on disk under the volume.
func (s *Store) Usage(ctx context.Context, name string) (int64, error) { return 0, errdefs.ErrNotImplemented }
