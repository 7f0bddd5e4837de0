package container

import (
	"context"
	"errors"
	"fmt"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"
)

func Port(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
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
	cmd.AddCommand(portAdd(a), portRm(a))
	return cmd
}

func portAdd(a *command.App) *cobra.Command {
	var from []string
	cmd := &cobra.Command{
		Use:   "add [OPTIONS] CONTAINER PORT [PORT...]",
		Short: "Publish more ports of a container",
		Long: "Publish more ports of a container, running or not, until they are removed again.\n" +
			"A PORT is what run -p takes: [[HOST_ADDRESS:][HOST_PORT]:]PORT[/PROTO], with ranges of ports.",
		Args:              command.AtLeast(1),
		ValidArgsFunction: a.CompleteContainers,
	}
	ports := cmd.Flags()
	var published []string
	opts.List(ports, &published, "publish", "p", "Port to publish, as an argument says it too", nil)
	opts.List(ports, &from, "publish-from", "", "Publish these ports only to who comes from these addresses (CIDR)", opts.CheckRange)
	cmd.RunE = a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
		change, err := portChange(append(published, args[1:]...))
		if err != nil {
			return err
		}
		change.From = from
		return daemon.PortAdd(ctx, args[0], change)
	})
	return cmd
}

func portRm(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:   "rm CONTAINER PORT [PORT...]",
		Short: "End the publication of ports of a container",
		Long: "End the publication of ports of a container, running or not. Connections to them end.\n" +
			"A PORT is what run -p takes; without a port of the host it is all that leads to this port of the container.",
		Args:              command.AtLeast(2),
		Aliases:           []string{"remove"},
		ValidArgsFunction: a.CompleteContainers,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			change, err := portChange(args[1:])
			if err != nil {
				return err
			}
			return daemon.PortRemove(ctx, args[0], change)
		}),
	}
}

func portChange(specs []string) (api.PortChange, error) {
	if len(specs) == 0 {
		return api.PortChange{}, errors.New("no port is named")
	}
	_, bound, err := opts.ParsePorts(specs)
	return api.PortChange{Ports: bound}, err
}
