package volume

import (
	"context"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Rm(a *command.App) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "rm [OPTIONS] VOLUME [VOLUME...]",
		Short:             "Remove one or more volumes",
		Long:              "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
		Aliases:           []string{"remove"},
		Args:              command.AtLeast(1),
		Annotations:       command.Aliases("volume rm", "volume remove"),
		ValidArgsFunction: a.CompleteVolumes,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			return a.Each(args, func(name string) error { return daemon.VolumeRemove(ctx, name, force) })
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not mind volumes that do not exist")
	return cmd
}
