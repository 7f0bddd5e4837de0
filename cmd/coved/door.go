package main

import (
	"context"
	"log/slog"
	"strconv"

	"github.com/moby/buildkit/session"
	et "github.com/moby/moby/api/types/events"

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
		Pruned: func(bytes uint64) {
			parts.Bus.Publish(et.Message{Type: et.BuilderEventType, Action: et.ActionPrune, Actor: et.Actor{
				Attributes: map[string]string{"reclaimed": strconv.FormatUint(bytes, 10)},
			}})
		},
	})
	d.push(door.Close)
	return door, nil
}
