// Package api holds what the HTTP API says beyond the types of github.com/moby/moby/api: versions, filters
// and Cove's own additions.
package api

const (
	// Version is the newest Engine API version spoken.
	Version = "1.56"
	// MinVersion is the oldest Engine API version spoken.
	MinVersion = "1.24"
	// DefaultSocket is where the daemon listens when nothing else is said.
	DefaultSocket = "/run/cove/cove.sock"
)
