//go:build !windows

package config

import "github.com/cove-containers/cove/api"

// DefaultHost is where the daemon listens when nothing else is said.
func DefaultHost() string { return "unix://" + api.DefaultSocket }
