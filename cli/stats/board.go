// Package stats keeps a table of what containers use up to date while they come and go.
package stats

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
)

// Board is the table while it is being filled: one line for each container.
type Board struct {
	// Daemon is asked, once or, with Follow, for ever.
	Daemon *client.Client
	Follow bool
	// Trunc shortens IDs.
	Trunc bool

	mu    sync.Mutex
	order []string
	rows  map[string]format.Stats
	stop  map[string]context.CancelFunc
	first []chan struct{} // closed when a container has shown something or failed
	errs  []error
}

// Watch puts the daemon's containers on the board, and follows as they come and go.
func (b *Board) Watch(ctx context.Context, all bool) error {
	if b.Follow {
		go func() {
			f := api.Filters{}
			f.Add("type", "container")
			_ = b.Daemon.Events(ctx, client.EventsOptions{Filters: f}, func(m events.Message) error {
				switch {
				case m.Action == events.ActionStart, all && m.Action == events.ActionCreate:
					b.Add(ctx, m.Actor.ID)
				case m.Action == events.ActionDestroy, !all && m.Action == events.ActionDie:
					b.remove(m.Actor.ID)
				}
				return nil
			})
		}()
	}
	list, err := b.Daemon.ContainerList(ctx, client.ListOptions{All: all})
	if err != nil {
		return err
	}
	for _, c := range list {
		b.Add(ctx, c.ID)
	}
	return nil
}

// Add puts a container on the board, unless it is there, and collects its samples.
func (b *Board) Add(ctx context.Context, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.rows[id]; ok {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	row := format.NoStats(id, id, "--")
	if b.Trunc {
		row.ID = format.ShortID(id)
	}
	if b.rows == nil {
		b.rows, b.stop = map[string]format.Stats{}, map[string]context.CancelFunc{}
	}
	b.order, b.rows[id], b.stop[id] = append(b.order, id), row, cancel
	first := make(chan struct{})
	b.first = append(b.first, first)
	go b.collect(ctx, id, func() { close(first) })
}

func (b *Board) remove(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cancel, ok := b.stop[id]; ok {
		cancel()
		delete(b.stop, id)
		delete(b.rows, id)
		b.order = slices.DeleteFunc(b.order, func(o string) bool { return o == id })
	}
}

// collect keeps the row of one container up to date. A sample is late after two seconds.
func (b *Board) collect(ctx context.Context, id string, first func()) {
	seen := sync.OnceFunc(first)
	late := time.AfterFunc(2*time.Second, func() {
		if b.Follow {
			seen()
		}
	})
	defer late.Stop()
	defer seen()
	err := b.Daemon.ContainerStats(ctx, id, b.Follow, func(s container.StatsResponse) error {
		b.mu.Lock()
		if _, ok := b.rows[id]; ok {
			b.rows[id] = format.StatsRow(id, s, b.Trunc)
		}
		b.mu.Unlock()
		seen()
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		b.mu.Lock()
		b.errs = append(b.errs, err)
		b.mu.Unlock()
	}
	if err != nil || b.Follow { // a stream that ends tells that the container has gone
		b.remove(id)
	}
}

// Err joins what could not be asked.
func (b *Board) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(b.errs...)
}

// Wait returns when every container has shown something, or has failed to within two seconds.
func (b *Board) Wait() {
	b.mu.Lock()
	list := slices.Clone(b.first)
	b.mu.Unlock()
	for _, first := range list {
		<-first
	}
}

// Rows gives the table as it is now.
func (b *Board) Rows() []format.Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := make([]format.Stats, 0, len(b.order))
	for _, id := range b.order {
		rows = append(rows, b.rows[id])
	}
	return rows
}
