package main

import (
	"log/slog"

	"github.com/moby/buildkit/session"

	"github.com/cove-containers/cove/build"
	"github.com/cove-containers/cove/buildkit"
)

// openDoor opens the builder's door.
func (d *daemon) openDoor(s *settings, b *build.Builder, sessions *session.Manager, log *slog.Logger) *buildkit.Door {
	door := buildkit.New(buildkit.Parts{
		Builder: b, Cache: b, History: b, Sessions: sessions, Scratch: s.dataRoot, Log: log,
	})
	d.push(door.Close)
	return door
}
