// Package engine is a container's life and every deed that needs two keepers: create, start, exec, stop, remove,
// prune, events. One verb is one file; each reads as a recipe over the keepers. Nothing is on disk that is the
// engine's own.
package engine

import (
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/state"
)

// Parts are the keepers an engine conducts, opened, and its settings.
type Parts struct {
	State      *state.DB
	Containers *container.Store
	Config     Config
}

// Config is the part of the daemon's settings that decides over containers.
type Config struct {
	// Root and ExecRoot are the daemon's two folders.
	Root, ExecRoot string
	// CgroupParent is the group all containers live under ("/cove"), or a systemd slice.
	CgroupParent string
	// Mark is this instance's own, part of every host-wide name; empty for the default instance.
	Mark string
	// LogDriver and LogOptions are for containers that name no driver.
	LogDriver  string
	LogOptions map[string]string
}

// Engine conducts the keepers. Its methods are safe for concurrent use.
type Engine struct {
	parts Parts
}
