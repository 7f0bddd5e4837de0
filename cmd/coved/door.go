package main

import (
	"context"
	"log/slog"

	"github.com/moby/buildkit/session"

	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/buildkit"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/state"
)

// builds opens the builder and its door.
func (d *daemon) builds(ctx context.Context, s *settings, parts engine.Parts, db *state.DB, blobs *blob.Store, registries *remote.Client, records *cache.Store, log *slog.Logger) (*buildkit.Door, error) {
	sessions, err := session.NewManager()
	if err != nil {
		return nil, err
	}
	if d.builder, err = d.openBuilder(ctx, s, parts, db, records, sessions, blobs, registries, log); err != nil {
		return nil, err
	}
	door := buildkit.New(buildkit.Parts{
		Builder: d.builder, Cache: d.builder, History: d.builder, Sessions: sessions,
		Entitlements: s.builder.entitled(), Scratch: s.dataRoot, Log: log,
	})
	d.push(door.Close)
	return door, nil
}
