package container

import (
	"context"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// Find describes a container for inspect commands, with its sizes when they are wanted.
func Find(size bool) command.Finder {
	return func(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
		return command.Describe(daemon.ContainerInspect(ctx, name, size))
	}
}

func Inspect(a *command.App) *cobra.Command {
	var layout string
	var size bool
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] CONTAINER [CONTAINER...]",
		Short:             "Display detailed information on one or more containers",
		Args:              command.AtLeast(1),
		ValidArgsFunction: a.CompleteContainers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.InspectAll(cmd.Context(), args, layout, Find(size))
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", command.InspectUsage)
	cmd.Flags().BoolVarP(&size, "size", "s", false, "Display total file sizes")
	return cmd
}
