package image

import (
	"context"
	"time"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func History(a *command.App) *cobra.Command {
	var human, quiet, noTrunc bool
	var layout, platform string
	cmd := &cobra.Command{
		Use:               "history [OPTIONS] IMAGE",
		Short:             "Show the history of an image",
		Args:              command.Exactly(1),
		Annotations:       command.Aliases("image history", "history"),
		ValidArgsFunction: a.CompleteImages,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			p, err := parsePlatform(platform)
			if err != nil {
				return err
			}
			list, err := daemon.ImageHistory(ctx, args[0], p)
			if err != nil {
				return err
			}
			rows := format.HistoryRows(list, !noTrunc, human, time.Now())
			if quiet && (layout == "" || layout == "table") {
				return format.Lines(a.Out, "ID", rows)
			}
			return format.Write(a.Out, layout, format.HistoryTable(human), rows)
		}),
	}
	fs := cmd.Flags()
	fs.StringVar(&layout, "format", "", command.FormatUsage)
	fs.BoolVarP(&human, "human", "H", true, "Print sizes and dates in human readable format")
	fs.BoolVar(&noTrunc, "no-trunc", false, "Don't truncate output")
	fs.StringVar(&platform, "platform", "", `Show the history of this platform, "os[/arch[/variant]]"`)
	fs.BoolVarP(&quiet, "quiet", "q", false, "Only show image IDs")
	return cmd
}
