package cli

import (
	"context"
	"slices"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"
)

func (a *app) networkLs() *cobra.Command {
	var quiet, noTrunc bool
	var layout string
	var filters api.Filters
	cmd := &cobra.Command{
		Use:         "ls [OPTIONS]",
		Short:       "List networks",
		Aliases:     []string{"list"},
		Args:        noArgs,
		Annotations: aliases("network ls", "network list"),
		RunE: a.call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			list, err := daemon.NetworkList(ctx, filters)
			if err != nil {
				return err
			}
			slices.SortFunc(list, func(x, y network.Summary) int { return format.Natural(x.Name, y.Name) })
			rows := format.Networks(list, !noTrunc)
			if layout == "" {
				if quiet {
					return format.Lines(a.out, "ID", rows)
				}
				layout = a.configFile().NetworksFormat
			}
			return format.Write(a.out, layout, format.NetworkTable(), rows)
		}),
	}
	fs := cmd.Flags()
	opts.Filters(fs, &filters, "f", `Show only what these conditions hold for (e.g. "driver=bridge")`)
	fs.StringVar(&layout, "format", "", formatUsage)
	fs.BoolVar(&noTrunc, "no-trunc", false, "Do not truncate the output")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Only display network IDs")
	return cmd
}

func (a *app) networkInspect() *cobra.Command {
	var layout string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] NETWORK [NETWORK...]",
		Short: "Display detailed information on one or more networks",
		Args:  atLeast(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inspectAll(cmd.Context(), args, layout, func(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
				return describe(daemon.NetworkInspect(ctx, name, verbose))
			})
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", inspectUsage)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Verbose output for diagnostics")
	return cmd
}
