package network

import (
	"context"
	"slices"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"
)

func Ls(a *command.App) *cobra.Command {
	var quiet, noTrunc bool
	var layout string
	var filters api.Filters
	cmd := &cobra.Command{
		Use:         "ls [OPTIONS]",
		Short:       "List networks",
		Aliases:     []string{"list"},
		Args:        command.NoArgs,
		Annotations: command.Aliases("network ls", "network list"),
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			list, err := daemon.NetworkList(ctx, filters)
			if err != nil {
				return err
			}
			slices.SortFunc(list, func(x, y network.Summary) int { return format.Natural(x.Name, y.Name) })
			rows := format.Networks(list, !noTrunc)
			return command.List(a, layout, a.ConfigFile().NetworksFormat, quiet, "ID", format.NetworkTable(), rows)
		}),
	}
	fs := cmd.Flags()
	opts.Filters(fs, &filters, "f", `Show only what these conditions hold for (e.g. "driver=bridge")`)
	fs.StringVar(&layout, "format", "", command.FormatUsage)
	fs.BoolVar(&noTrunc, "no-trunc", false, "Do not truncate the output")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Only display network IDs")
	return cmd
}
