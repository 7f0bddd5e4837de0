package container

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Top(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "top CONTAINER [ps OPTIONS]",
		Short:             "Display the running processes of a container",
		Args:              command.AtLeast(1),
		Annotations:       command.Aliases("container top", "top"),
		ValidArgsFunction: a.CompleteContainers,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			top, err := daemon.ContainerTop(ctx, args[0], strings.Join(args[1:], " "))
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(a.Out, 20, 1, 3, ' ', 0)
			fmt.Fprintln(w, strings.Join(top.Titles, "\t"))
			for _, p := range top.Processes {
				fmt.Fprintln(w, strings.Join(p, "\t"))
			}
			return w.Flush()
		}),
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}
