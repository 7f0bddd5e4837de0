package network

import (
	"context"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// Find describes a network for inspect commands.
func Find(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
	return command.Describe(daemon.NetworkInspect(ctx, name, false))
}

func Inspect(a *command.App) *cobra.Command {
	var layout string
	var verbose bool
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] NETWORK [NETWORK...]",
		Short:             "Display detailed information on one or more networks",
		Args:              command.AtLeast(1),
		ValidArgsFunction: a.CompleteNetworks,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.InspectAll(cmd.Context(), args, layout, func(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
				return command.Describe(daemon.NetworkInspect(ctx, name, verbose))
			})
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", command.InspectUsage)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Verbose output for diagnostics")
	return cmd
}
