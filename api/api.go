// Package api holds what the HTTP API says beyond the types of github.com/moby/moby/api: versions, filters
// and Cove's own additions.
package api

const (
	// Version is the newest Engine API version spoken.
	Version = "1.56"
	// MinVersion is the oldest Engine API version spoken.
	MinVersion = "1.24"
	// DockerRelease is what clients that compare the engine's version with those of Docker are told: the first Docker that
	// spoke the same API. What stands after the plus is no part of the comparison.
	DockerRelease = "29.8.0+cove"
	// StorageDriver is what the API calls the way root file systems are made.
	StorageDriver = "overlayfs"
	// DefaultSocket is where the daemon listens when nothing else is said.
	DefaultSocket = "/run/cove/cove.sock"
)
