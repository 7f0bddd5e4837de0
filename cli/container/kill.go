package container

import (
	"context"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Kill(a *command.App) *cobra.Command {
	var signal string
	cmd := simple(a, "kill", "[OPTIONS] ", "Kill one or more running containers", func(ctx context.Context, daemon *client.Client, id string) error {
		return daemon.ContainerKill(ctx, id, signal)
	})
	cmd.Flags().StringVarP(&signal, "signal", "s", "", "Signal to send to the container")
	return cmd
}
