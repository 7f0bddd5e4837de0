package network

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// Rm builds "network rm".
func Rm(a *command.App) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "rm [OPTIONS] NETWORK [NETWORK...]",
		Short:             "Remove one or more networks",
		Aliases:           []string{"remove"},
		Args:              command.AtLeast(1),
		Annotations:       command.Aliases("network rm", "network remove"),
		ValidArgsFunction: a.CompleteNetworks,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			failed := false
			for _, name := range args {
				err := daemon.NetworkRemove(ctx, name)
				switch {
				case force && errdefs.IsNotFound(err):
				case err != nil:
					fmt.Fprintln(a.Err, err)
					failed = true
				default:
					fmt.Fprintln(a.Out, name)
				}
			}
			if failed {
				return command.Exit(1)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not mind networks that do not exist")
	return cmd
}
