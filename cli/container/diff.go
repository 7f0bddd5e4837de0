package container

import (
	"context"
	"errors"
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Diff(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:               "diff CONTAINER",
		Short:             "Inspect changes to files or directories on a container's filesystem",
		Args:              command.Exactly(1),
		Annotations:       command.Aliases("container diff", "diff"),
		ValidArgsFunction: a.CompleteContainers,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if args[0] == "" {
				return errors.New("container name cannot be empty")
			}
			changes, err := daemon.ContainerDiff(ctx, args[0])
			if err != nil {
				return err
			}
			for _, c := range changes {
				fmt.Fprintln(a.Out, c.Kind.String(), c.Path)
			}
			return nil
		}),
	}
}
