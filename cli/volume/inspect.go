package volume

import (
	"context"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// Find describes a volume for inspect commands.
func Find(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
	return command.Describe(daemon.VolumeInspect(ctx, name))
}

func Inspect(a *command.App) *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] VOLUME [VOLUME...]",
		Short:             "Display detailed information on one or more volumes",
		Args:              command.AtLeast(1),
		ValidArgsFunction: a.CompleteVolumes,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.InspectAll(cmd.Context(), args, layout, Find)
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", command.InspectUsage)
	return cmd
}
