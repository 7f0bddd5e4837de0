package container

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/stats"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Stats(a *command.App) *cobra.Command {
	var all, noStream, noTrunc bool
	var layout string
	cmd := &cobra.Command{
		Use:               "stats [OPTIONS] [CONTAINER...]",
		Short:             "Display a live stream of container(s) resource usage statistics",
		Annotations:       command.Aliases("container stats", "stats"),
		ValidArgsFunction: a.CompleteContainers,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			b := &stats.Board{Daemon: daemon, Follow: !noStream, Trunc: !noTrunc}
			if len(args) > 0 {
				for _, name := range args {
					b.Add(ctx, name)
				}
			} else if err := b.Watch(ctx, all); err != nil {
				return err
			}
			if layout == "" {
				layout = a.ConfigFile().StatsFormat
			}
			return showStats(ctx, a, b, layout, len(args) > 0)
		}),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "Show all containers (default shows just running)")
	fs.StringVar(&layout, "format", "", command.FormatUsage)
	fs.BoolVar(&noStream, "no-stream", false, "Show only the first result")
	fs.BoolVar(&noTrunc, "no-trunc", false, "Do not truncate output")
	return cmd
}

// showStats draws the board: once, or twice a second until there is nothing left to show.
func showStats(ctx context.Context, a *command.App, b *stats.Board, layout string, named bool) error {
	b.Wait()
	if err := b.Err(); named && err != nil {
		return err
	}
	if !b.Follow {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return format.Write(a.Out, layout, format.StatsTable(), b.Rows())
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		rows := b.Rows()
		if len(rows) == 0 && named {
			fmt.Fprint(a.Out, "\x1b[H\x1b[J")
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
		if _, err := a.Out.Write(frame.Bytes()); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
