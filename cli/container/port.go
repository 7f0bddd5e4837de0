package container

import (
	"context"
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"
)

func Port(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:               "port CONTAINER [PRIVATE_PORT[/PROTO]]",
		Short:             "List port mappings or a specific mapping for the container",
		Args:              command.Between(1, 2),
		Annotations:       command.Aliases("container port", "port"),
		ValidArgsFunction: a.CompleteContainers,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			info, _, err := daemon.ContainerInspect(ctx, args[0], false)
			if err != nil {
				return err
			}
			var ports network.PortMap
			if info.NetworkSettings != nil {
				ports = info.NetworkSettings.Ports
			}
			lines, err := format.PortLines(ports, args)
			if err != nil {
				return err
			}
			for _, line := range lines {
				fmt.Fprintln(a.Out, line)
			}
			return nil
		}),
	}
}
