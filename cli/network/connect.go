package network

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"
)

// Connect builds "network connect".
func Connect(a *command.App) *cobra.Command {
	var ip4, ip6 string
	var linkLocal, options []string
	e := &network.EndpointSettings{}
	cmd := &cobra.Command{
		Use:               "connect [OPTIONS] NETWORK CONTAINER",
		Short:             "Connect a container to a network",
		Args:              command.Exactly(2),
		ValidArgsFunction: completeBoth(a),
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if err := addresses(e, ip4, ip6, linkLocal); err != nil {
				return err
			}
			for _, o := range options {
				key, value, given := strings.Cut(o, "=")
				if key = strings.TrimSpace(key); !given || key == "" {
					return errors.New("invalid key/value pair format in driver options")
				}
				if e.DriverOpts == nil {
					e.DriverOpts = map[string]string{}
				}
				e.DriverOpts[key] = strings.TrimSpace(value)
			}
			return daemon.NetworkConnect(ctx, args[0], network.ConnectRequest{Container: args[1], EndpointConfig: e})
		}),
	}
	fs := cmd.Flags()
	fs.StringVar(&ip4, "ip", "", `IPv4 address (e.g., "172.30.100.104")`)
	fs.StringVar(&ip6, "ip6", "", `IPv6 address (e.g., "2001:db8::33")`)
	opts.List(fs, &e.Links, "link", "", "Add link to another container", opts.CheckLink)
	opts.List(fs, &e.Aliases, "alias", "", "Add network-scoped alias for the container", nil)
	opts.List(fs, &linkLocal, "link-local-ip", "", "Add a link-local address for the container", nil)
	opts.List(fs, &options, "driver-opt", "", "Options of the network's driver", nil)
	fs.IntVar(&e.GwPriority, "gw-priority", 0, "Highest gw-priority provides the default gateway. Accepts positive and negative values")
	return cmd
}

// addresses puts the addresses asked for into e.
func addresses(e *network.EndpointSettings, ip4, ip6 string, linkLocal []string) (err error) {
	if ip4 == "" && ip6 == "" && len(linkLocal) == 0 {
		return nil
	}
	c := &network.EndpointIPAMConfig{}
	e.IPAMConfig = c
	if ip4 != "" {
		if c.IPv4Address, err = netip.ParseAddr(ip4); err != nil {
			return err
		}
	}
	if ip6 != "" {
		if c.IPv6Address, err = netip.ParseAddr(ip6); err != nil {
			return err
		}
	}
	for _, text := range linkLocal {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return err
		}
		c.LinkLocalIPs = append(c.LinkLocalIPs, ip)
	}
	return nil
}

// Disconnect builds "network disconnect".
func Disconnect(a *command.App) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "disconnect [OPTIONS] NETWORK CONTAINER",
		Short:             "Disconnect a container from a network",
		Args:              command.Exactly(2),
		ValidArgsFunction: completeBoth(a),
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			return daemon.NetworkDisconnect(ctx, args[0], network.DisconnectRequest{Container: args[1], Force: force})
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Force the container to disconnect from a network")
	return cmd
}

// completeBoth offers networks, then containers.
func completeBoth(a *command.App) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return a.CompleteNetworks(cmd, args, word)
		case 1:
			return a.Containers(cmd), command.Nothing
		}
		return nil, command.Nothing
	}
}
