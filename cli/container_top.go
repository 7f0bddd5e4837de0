package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func (a *app) containerTop() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "top CONTAINER [ps OPTIONS]",
		Short:             "Display the running processes of a container",
		Args:              atLeast(1),
		Annotations:       aliases("container top", "top"),
		ValidArgsFunction: a.completeContainers,
		RunE: a.call(func(ctx context.Context, daemon *client.Client, args []string) error {
			top, err := daemon.ContainerTop(ctx, args[0], strings.Join(args[1:], " "))
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(a.out, 20, 1, 3, ' ', 0)
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
