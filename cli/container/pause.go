package container

import (
	"context"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Pause(a *command.App) *cobra.Command {
	return simple(a, "pause", "", "Pause all processes within one or more containers", func(ctx context.Context, daemon *client.Client, id string) error {
		return daemon.ContainerPause(ctx, id)
	})
}

func Unpause(a *command.App) *cobra.Command {
	return simple(a, "unpause", "", "Unpause all processes within one or more containers", func(ctx context.Context, daemon *client.Client, id string) error {
		return daemon.ContainerUnpause(ctx, id)
	})
}
