// Package system keeps house: what everything takes on disk, and whether what the keepers have written agrees with itself,
// with one another and with what is on the host. It holds no state of its own.
//
// A check runs beside everything else. So a keeper that finds something amiss says how to look again, and only what is
// still amiss a moment later counts; a repair looks once more, under the keeper's own locks.
package system

import (
	"context"
	"path/filepath"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/network"
	"github.com/cove-containers/cove/shim"
	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/volume"
)

// Parts are the keepers, and what only the engine can tell or do.
type Parts struct {
	// Root is the daemon's data root. CgroupParent is the group of all containers or a systemd slice; it is empty where others
	// may use it too, since what is nobody's cannot be told there.
	Root, CgroupParent string

	Database   *state.DB
	Blobs      *blob.Store
	Images     *image.Store
	Layers     *layer.Store
	Volumes    *volume.Store
	Networks   *network.Keeper
	Shims      *shim.Keeper
	Containers *container.Store
	// More are further keepers that are checked.
	More []Checker

	// List describes all containers.
	List func(ctx context.Context) ([]ct.Summary, error)
	// Remove removes a container with all that is left of it.
	Remove func(ctx context.Context, id string) error
}

// Checker is a keeper that can look itself over.
type Checker interface {
	Check(ctx context.Context, deep bool) (api.Findings, error)
}

// System answers questions about the whole. It is safe for concurrent use.
type System struct{ parts Parts }

// New makes a System.
func New(parts Parts) *System { return &System{parts: parts} }

func (s *System) containerFolder(id string) string {
	return filepath.Join(s.parts.Root, "containers", id)
}
