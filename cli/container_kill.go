package cli

import (
	"context"

	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func (a *app) containerKill() *cobra.Command {
	var signal string
	cmd := a.simple("kill", "[OPTIONS] ", "Kill one or more running containers", func(ctx context.Context, daemon *client.Client, id string) error {
		return daemon.ContainerKill(ctx, id, signal)
	})
	cmd.Flags().StringVarP(&signal, "signal", "s", "", "Signal to send to the container")
	return cmd
}
