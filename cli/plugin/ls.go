package plugin

import (
	"context"
	"slices"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/plugin"
	"github.com/spf13/cobra"
)

func Ls(a *command.App) *cobra.Command {
	var quiet, noTrunc bool
	var layout string
	var filters api.Filters
	cmd := &cobra.Command{
		Use:               "ls [OPTIONS]",
		Short:             "List plugins",
		Aliases:           []string{"list"},
		Args:              command.NoArgs,
		Annotations:       command.Aliases("plugin ls", "plugin list"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			list, err := daemon.PluginList(ctx, filters)
			if err != nil {
				return err
			}
			slices.SortFunc(list, func(x, y plugin.Plugin) int { return format.Natural(x.Name, y.Name) })
			rows := format.Plugins(list, !noTrunc)
			return command.List(a, layout, a.ConfigFile().PluginsFormat, quiet, "ID", format.PluginTable(), rows)
		}),
	}
	fs := cmd.Flags()
	opts.Filters(fs, &filters, "f", `Show only what these conditions hold for (e.g. "enabled=true")`)
	fs.StringVar(&layout, "format", "", command.FormatUsage)
	fs.BoolVar(&noTrunc, "no-trunc", false, "Don't truncate output")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Only display plugin IDs")
	return cmd
}
