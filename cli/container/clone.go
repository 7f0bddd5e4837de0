package container

import (
	"context"
	"fmt"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Clone(a *command.App) *cobra.Command {
	var r api.CloneRequest
	cmd := &cobra.Command{
		Use:   "clone [OPTIONS] CONTAINER [NAME]",
		Short: "Create a container with the settings and the files of another one",
		Long: `Create a container with the settings and the files of another one. The files of a container that does not run are
shared and cost nothing; one that runs is paused while they are copied. Volumes with a name are shared, those without
are made anew. Ports and addresses are those of the other one: where they collide, only one of the two can run.`,
		Args:              command.Between(1, 2),
		ValidArgsFunction: a.CompleteContainers,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if len(args) > 1 {
				r.Name = args[1]
			}
			made, err := daemon.ContainerClone(ctx, args[0], r)
			if err != nil {
				return err
			}
			for _, w := range made.Warnings {
				a.Warn(w)
			}
			fmt.Fprintln(a.Out, made.ID)
			return nil
		}),
	}
	cmd.Flags().StringVar(&r.Snapshot, "snapshot", "", "Take the files of this snapshot instead of the present ones")
	return cmd
}
