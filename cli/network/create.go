package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"
)

// ranges are the flags of network create that say which addresses there are.
type ranges struct {
	subnets, ipRanges, gateways []string
	aux                         map[string]string
}

// Create builds "network create".
func Create(a *command.App) *cobra.Command {
	var labels []string
	var r ranges
	var ip4, ip6 bool
	var from string
	request := network.CreateRequest{IPAM: &network.IPAM{}}
	cmd := &cobra.Command{
		Use:               "create [OPTIONS] NETWORK",
		Short:             "Create a network",
		Args:              command.Exactly(1),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
		request.Name, request.Labels = args[0], opts.Pairs(labels)
		if cmd.Flags().Changed("ipv4") {
			request.EnableIPv4 = &ip4
		}
		if cmd.Flags().Changed("ipv6") {
			request.EnableIPv6 = &ip6
		}
		if from != "" {
			request.ConfigFrom = &network.ConfigReference{Network: from}
		}
		var err error
		if request.IPAM.Config, err = r.config(); err != nil {
			return err
		}
		made, err := daemon.NetworkCreate(ctx, request)
		if err != nil {
			return err
		}
		fmt.Fprintln(a.Out, made.ID)
		return nil
	})
	fs := cmd.Flags()
	fs.StringVarP(&request.Driver, "driver", "d", "bridge", "Driver to manage the Network")
	opts.Map(fs, &request.Options, "opt", "o", "Set driver specific options", nil)
	opts.List(fs, &labels, "label", "", "Set metadata on a network", opts.Label)
	fs.BoolVar(&request.Internal, "internal", false, "Restrict external access to the network")
	fs.BoolVar(&ip4, "ipv4", true, "Enable or disable IPv4 address assignment")
	fs.BoolVar(&ip6, "ipv6", false, "Enable or disable IPv6 address assignment")
	fs.BoolVar(&request.Attachable, "attachable", false, "Enable manual container attachment")
	fs.BoolVar(&request.Ingress, "ingress", false, "Create swarm routing-mesh network")
	fs.BoolVar(&request.ConfigOnly, "config-only", false, "Create a configuration only network")
	fs.StringVar(&from, "config-from", "", "The network from which to copy the configuration")
	fs.StringVar(&request.Scope, "scope", "", "Control the network's scope")
	fs.StringVar(&request.IPAM.Driver, "ipam-driver", "default", "IP Address Management Driver")
	fs.StringSliceVar(&r.subnets, "subnet", nil, "Subnet in CIDR format that represents a network segment")
	fs.StringSliceVar(&r.ipRanges, "ip-range", nil, "Allocate container ip from a sub-range")
	fs.StringSliceVar(&r.gateways, "gateway", nil, "IPv4 or IPv6 Gateway for the master subnet")
	opts.Map(fs, &r.aux, "aux-address", "", "Auxiliary IPv4 or IPv6 addresses used by Network driver", nil)
	opts.Map(fs, &request.IPAM.Options, "ipam-opt", "", "Set IPAM driver specific options", nil)
	return cmd
}

// config gives each subnet the range, the gateway and the addresses that lie in it.
func (r ranges) config() ([]network.IPAMConfig, error) {
	if len(r.subnets) < len(r.ipRanges) || len(r.subnets) < len(r.gateways) {
		return nil, errors.New("every ip-range or gateway must have a corresponding subnet")
	}
	var all []network.IPAMConfig
	for _, text := range r.subnets {
		subnet, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("invalid CIDR address: %s", text)
		}
		for _, other := range all {
			if other.Subnet.Overlaps(subnet) {
				return nil, errors.New("multiple overlapping subnet configuration is not supported")
			}
		}
		all = append(all, network.IPAMConfig{Subnet: subnet})
	}
	in := func(a netip.Addr) *network.IPAMConfig {
		for i := range all {
			if all[i].Subnet.Contains(a) {
				return &all[i]
			}
		}
		return nil
	}
	for _, text := range r.ipRanges {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("invalid CIDR address: %s", text)
		}
		c := in(p.Addr())
		switch {
		case c == nil:
			return nil, fmt.Errorf("no matching subnet for range %s", text)
		case c.IPRange.IsValid():
			return nil, fmt.Errorf("cannot configure multiple ranges (%s, %s) on the same subnet (%s)", text, c.IPRange, c.Subnet)
		}
		c.IPRange = p
	}
	for _, text := range r.gateways {
		a, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("invalid gateway address: %s", text)
		}
		c := in(a)
		switch {
		case c == nil:
			return nil, fmt.Errorf("no matching subnet for gateway %s", text)
		case c.Gateway.IsValid():
			return nil, fmt.Errorf("cannot configure multiple gateways (%s, %s) for the same subnet (%s)", text, c.Gateway, c.Subnet)
		}
		c.Gateway = a
	}
	for name, text := range r.aux {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("invalid auxiliary address: %s", text)
		}
		c := in(a)
		if c == nil {
			return nil, fmt.Errorf("no matching subnet for aux-address %s", text)
		}
		if c.AuxAddress == nil {
			c.AuxAddress = map[string]netip.Addr{}
		}
		c.AuxAddress[name] = a
	}
	return all, nil
}
