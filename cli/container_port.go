package cli

import (
	"context"
	"fmt"

	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"
)

func (a *app) containerPort() *cobra.Command {
	return &cobra.Command{
		Use:               "port CONTAINER [PRIVATE_PORT[/PROTO]]",
		Short:             "List port mappings or a specific mapping for the container",
		Args:              between(1, 2),
		Annotations:       aliases("container port", "port"),
		ValidArgsFunction: a.completeContainers,
		RunE: a.call(func(ctx context.Context, daemon *client.Client, args []string) error {
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
				fmt.Fprintln(a.out, line)
			}
			return nil
		}),
	}
}
