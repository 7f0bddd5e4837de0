package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func (a *app) containerDiff() *cobra.Command {
	return &cobra.Command{
		Use:               "diff CONTAINER",
		Short:             "Inspect changes to files or directories on a container's filesystem",
		Args:              exactly(1),
		Annotations:       aliases("container diff", "diff"),
		ValidArgsFunction: a.completeContainers,
		RunE: a.call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if args[0] == "" {
				return errors.New("container name cannot be empty")
			}
			changes, err := daemon.ContainerDiff(ctx, args[0])
			if err != nil {
				return err
			}
			for _, c := range changes {
				fmt.Fprintln(a.out, c.Kind.String(), c.Path)
			}
			return nil
		}),
	}
}
