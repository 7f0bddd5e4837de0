// Package view is what the engine shows and changes nothing by: lists of containers, their settings and processes,
// what they use, and the state of the whole. It reads the keepers and the kernel, each answer anew; while nobody
// asks it does nothing.
package view

import (
	"time"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/network"
	"github.com/cove-containers/cove/volume"
)

// Parts are what a View looks at.
type Parts struct {
	Containers *container.Store
	Images     *image.Store
	Layers     *layer.Store
	Networks   *network.Keeper
	Volumes    *volume.Store
	// Settings gives the daemon's settings as they are now.
	Settings func() Settings
	// CgroupPath and ExecIDs tell what only the engine knows of a container.
	CgroupPath func(*container.Container) string
	// Devices are those that vendors describe; nil: none.
	Devices described
	ExecIDs func(containerID string) []string
	// Told is called when a view is itself an event: top.
	Told func(c *container.Container, action string)
	// Bus carries events; Closing is closed when the daemon ends.
	Bus     *Bus
	Closing <-chan struct{}
}

// Settings are the daemon's settings that are shown.
type Settings struct {
	Root, CgroupParent, Name    string
	Labels                      []string
	LogDriver                   string
	Runtimes                    map[string]string
	DefaultRuntime              string
	InsecureRegistries, Mirrors []string
	Debug, Experimental         bool
	SeccompProfile              bool
	NoNewPrivileges, Remapped   bool
	AppArmor                    bool
}

type described interface {
	List() []string
	Dirs() []string
}

// View answers questions. Its methods are safe for concurrent use.
type View struct{ parts Parts }

// New makes a View.
func New(parts Parts) *View { return &View{parts: parts} }

// ListOptions picks containers.
type ListOptions struct {
	// All lists the ones that do not run too.
	All bool
	// Size finds out how much each has written.
	Size bool
	// Limit, when positive, is the number of containers made last, running or not.
	Limit   int
	Filters api.Filters
}

// EventsOptions picks events.
type EventsOptions struct {
	Since, Until time.Time
	Filters      api.Filters
	// Open is called once, when nothing that happens from now on can be missed, and before the first event is given.
	Open func() error
}
