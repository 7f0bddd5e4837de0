package cli

import (
	"context"

	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func (a *app) containerPause() *cobra.Command {
	return a.simple("pause", "", "Pause all processes within one or more containers", func(ctx context.Context, daemon *client.Client, id string) error {
		return daemon.ContainerPause(ctx, id)
	})
}

func (a *app) containerUnpause() *cobra.Command {
	return a.simple("unpause", "", "Unpause all processes within one or more containers", func(ctx context.Context, daemon *client.Client, id string) error {
		return daemon.ContainerUnpause(ctx, id)
	})
}
