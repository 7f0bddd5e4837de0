package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/spf13/cobra"
)

// board is the table of stats while it is being filled: one line for each container.
type board struct {
	daemon *client.Client
	follow bool
	trunc  bool

	mu    sync.Mutex
	order []string
	rows  map[string]format.Stats
	gone  map[string]context.CancelFunc
	first sync.WaitGroup // until every container has shown something or failed
	errs  []error
}

func (a *app) containerStats() *cobra.Command {
	var all, noStream, noTrunc bool
	var layout string
	cmd := &cobra.Command{
		Use:                   "stats [OPTIONS] [CONTAINER...]",
		Short:                 "Display a live stream of container(s) resource usage statistics",
		Annotations:           aliases("container stats", "stats"),
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     a.completeContainers,
		RunE: func(cmd *cobra.Command, args []string) error {
			daemon, err := a.client()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			b := &board{daemon: daemon, follow: !noStream, trunc: !noTrunc, rows: map[string]format.Stats{}, gone: map[string]context.CancelFunc{}}
			if len(args) > 0 {
				for _, name := range args {
					b.add(ctx, name, name)
				}
			} else if err := b.watch(ctx, all); err != nil {
				return err
			}
			if layout == "" {
				layout = a.configFile().StatsFormat
			}
			return a.showStats(ctx, b, layout, len(args) > 0)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "Show all containers (default shows just running)")
	fs.StringVar(&layout, "format", "", formatUsage)
	fs.BoolVar(&noStream, "no-stream", false, "Show only the first result")
	fs.BoolVar(&noTrunc, "no-trunc", false, "Do not truncate output")
	return cmd
}

// showStats draws the board: once, or twice a second until there is nothing left to show.
func (a *app) showStats(ctx context.Context, b *board, layout string, named bool) error {
	b.first.Wait()
	if err := b.failed(); named && err != nil {
		return err
	}
	if !b.follow {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return format.Write(a.out, layout, format.StatsTable(), b.snapshot())
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		rows := b.snapshot()
		if len(rows) == 0 && named {
			fmt.Fprint(a.out, "\x1b[H\x1b[J")
			return nil
		}
		var text, frame bytes.Buffer
		if err := format.Write(&text, layout, format.StatsTable(), rows); err != nil {
			return err
		}
		frame.WriteString("\x1b[H")
		for _, line := range strings.Split(text.String(), "\n") {
			frame.WriteString(line + "\x1b[K\n")
		}
		frame.WriteString("\x1b[J")
		if _, err := a.out.Write(frame.Bytes()); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watch puts the daemon's containers on the board, and follows as they come and go.
func (b *board) watch(ctx context.Context, all bool) error {
	if b.follow {
		go func() {
			f := api.Filters{}
			f.Add("type", "container")
			_ = b.daemon.Events(ctx, client.EventsOptions{Filters: f}, func(m events.Message) error {
				switch {
				case m.Action == events.ActionStart, all && m.Action == events.ActionCreate:
					b.add(ctx, m.Actor.ID, m.Actor.Attributes["name"])
				case m.Action == events.ActionDestroy, !all && m.Action == events.ActionDie:
					b.remove(m.Actor.ID)
				}
				return nil
			})
		}()
	}
	list, err := b.daemon.ContainerList(ctx, client.ListOptions{All: all})
	if err != nil {
		return err
	}
	for _, c := range list {
		name := ""
		if len(c.Names) > 0 {
			name = strings.TrimPrefix(c.Names[0], "/")
		}
		b.add(ctx, c.ID, name)
	}
	return nil
}

// add puts a container on the board, unless it is there, and collects its samples.
func (b *board) add(ctx context.Context, id, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.rows[id]; ok {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	row := format.NoStats(id, id, "--")
	if b.trunc {
		row.ID = format.ShortID(id)
	}
	b.order, b.rows[id], b.gone[id] = append(b.order, id), row, cancel
	b.first.Add(1)
	go b.collect(ctx, id)
}

func (b *board) remove(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cancel, ok := b.gone[id]; ok {
		cancel()
		delete(b.gone, id)
		delete(b.rows, id)
		b.order = slices.DeleteFunc(b.order, func(o string) bool { return o == id })
	}
}

// collect keeps the row of one container up to date. A sample is late after two seconds.
func (b *board) collect(ctx context.Context, id string) {
	seen := sync.OnceFunc(b.first.Done)
	late := time.AfterFunc(2*time.Second, func() {
		if b.follow {
			seen()
		}
	})
	defer late.Stop()
	defer seen()
	err := b.daemon.ContainerStats(ctx, id, b.follow, func(s container.StatsResponse) error {
		b.mu.Lock()
		if _, ok := b.rows[id]; ok {
			b.rows[id] = format.StatsRow(id, s, b.trunc)
		}
		b.mu.Unlock()
		seen()
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		b.mu.Lock()
		b.errs = append(b.errs, err)
		b.mu.Unlock()
		b.remove(id)
	}
}

func (b *board) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(b.errs...)
}

func (b *board) snapshot() []format.Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := make([]format.Stats, 0, len(b.order))
	for _, id := range b.order {
		rows = append(rows, b.rows[id])
	}
	return rows
}
