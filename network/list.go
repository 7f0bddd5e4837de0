package network

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
	"github.com/cove-containers/cove/network/nft"
	"github.com/cove-containers/cove/network/option"
)

// find returns the name of the network that ref means: its name, its ID or the beginning of its ID.
func (k *Keeper) find(ref string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ref == nt.NetworkDefault {
		ref = nt.NetworkBridge
	}
	if _, ok := k.records[ref]; ok {
		return ref, nil
	}
	var found []string
	for name, r := range k.records {
		if ref != "" && strings.HasPrefix(r.ID, ref) {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		return "", errdefs.ErrNotFound.WithMessage("network " + ref + " not found")
	case 1:
		return found[0], nil
	}
	return "", errdefs.ErrInvalidArgument.WithMessage("network " + ref + " is ambiguous (" + strconv.Itoa(len(found)) + " matches found based on ID prefix)")
}

// Called is the name of the network that ref means, or ref itself where there is no such network.
func (k *Keeper) Called(ref string) string {
	if name, err := k.find(ref); err == nil {
		return name
	}
	return ref
}

// Inspect finds a network by name, ID or the beginning of its ID, and shows the containers on it.
func (k *Keeper) Inspect(ref string) (nt.Inspect, error) {
	name, err := k.find(ref)
	if err != nil {
		return nt.Inspect{}, err
	}
	return k.inspect(name), nil
}

func (k *Keeper) inspect(name string) nt.Inspect {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, l := k.records[name], k.lans[name]
	n := nt.Inspect{
		Network: nt.Network{
			Name: name, ID: r.ID, Created: r.Created, Scope: "local", Driver: r.Driver,
			EnableIPv4: r.Bridge.IsValid() || r.Driver != "bridge", EnableIPv6: r.Bridge6.IsValid(),
			Internal: r.Internal, Attachable: r.Attachable,
			IPAM:    nt.IPAM{Driver: "default", Options: maps.Clone(r.IPAMOptions), Config: []nt.IPAMConfig{}},
			Options: map[string]string{}, Labels: map[string]string{},
		},
		Containers: map[string]nt.EndpointResource{},
	}
	n.ConfigFrom.Network = r.From
	if r.Shape != nil {
		r.showConfiguration(&n)
	}
	set, _ := option.Read(r.Driver, r.Options) // they could be read when it was made
	gateways := r.gateways(set)
	maps.Copy(n.Options, r.Options)
	maps.Copy(n.Labels, r.Labels)
	for _, of := range []struct {
		bridge  netip.Prefix
		config  nt.IPAMConfig
		gateway netip.Addr
	}{{r.Bridge, r.Config, gateways.V4}, {r.Bridge6, r.Config6, gateways.V6}} {
		if c := of.config; of.bridge.IsValid() && (l != nil || name != nt.NetworkBridge) {
			if !c.Subnet.IsValid() || name == nt.NetworkBridge {
				c.Gateway = of.gateway // else only one asked for: who compares with what was asked would make the network anew
			}
			c.Subnet = of.bridge.Masked()
			n.IPAM.Config = append(n.IPAM.Config, c)
		}
	}
	if name == nt.NetworkBridge && l != nil {
		n.Options = map[string]string{
			option.Default:    "true",
			option.ICC:        strconv.FormatBool(!k.cfg.Apart),
			option.Masquerade: strconv.FormatBool(!k.cfg.Seen),
			option.HostIP:     k.defaultHostIP().String(),
			option.Bridge:     l.device.Name,
			option.MTU:        strconv.Itoa(l.mtu),
		}
	}
	for id, m := range k.members {
		e := m.endpoints[name]
		if e == nil {
			continue
		}
		shown := nt.EndpointResource{Name: m.name, EndpointID: e.id, MacAddress: e.mac}
		if e.addresses.V4.IsValid() && r.Bridge.IsValid() {
			shown.IPv4Address = netip.PrefixFrom(e.addresses.V4, r.Bridge.Bits())
		}
		if e.addresses.V6.IsValid() && r.Bridge6.IsValid() {
			shown.IPv6Address = netip.PrefixFrom(e.addresses.V6, r.Bridge6.Bits())
		}
		n.Containers[id] = shown
	}
	if l != nil {
		n.Status = l.status()
	}
	return n
}

// status counts the network's addresses.
func (l *lan) status() *nt.Status {
	s := &nt.Status{IPAM: nt.IPAMStatus{Subnets: nt.SubnetStatuses{}}}
	for _, subnet := range []*ipam.Subnet{l.space.V4, l.space.V6} {
		if subnet != nil {
			used, left := subnet.Counts()
			s.IPAM.Subnets[subnet.Prefix()] = nt.SubnetStatus{IPsInUse: used, DynamicIPsAvailable: left}
		}
	}
	return s
}

// List returns the networks that the filters (dangling, driver, id, label, name, scope, type) let through, by name.
func (k *Keeper) List(filters api.Filters) ([]nt.Inspect, error) {
	if err := filters.Check("dangling", "driver", "id", "label", "name", "scope", "type"); err != nil {
		return nil, err
	}
	dangling, err := filters.Bool("dangling", false)
	if err != nil {
		return nil, err
	}
	for _, kind := range filters.Get("type") {
		if kind != "builtin" && kind != "custom" {
			return nil, errdefs.ErrInvalidArgument.WithMessage("invalid filter: 'type'='" + kind + "'")
		}
	}
	k.mu.Lock()
	records, real := maps.Clone(k.records), k.lans[nt.NetworkBridge] != nil
	used := map[string]bool{}
	for _, m := range k.members {
		for network := range m.endpoints {
			used[network] = true
		}
	}
	k.mu.Unlock()
	var all []nt.Inspect
	called, id := filters.Matcher("name"), filters.Matcher("id")
	for _, name := range slices.Sorted(maps.Keys(records)) {
		r, kind := records[name], "custom"
		if predefined(name) {
			kind = "builtin"
		}
		unused := kind == "custom" && !used[name]
		if filters.Has("dangling") && dangling != unused || name == nt.NetworkBridge && !real {
			continue
		}
		if !filters.Exact("driver", r.Driver) || !filters.Exact("scope", "local") || !filters.Exact("type", kind) ||
			!called(name) || !id(r.ID) || !filters.Labels("label", r.Labels) {
			continue
		}
		all = append(all, k.inspect(name))
	}
	return all, nil
}

// Warnings tell what on this host is in the way of containers' networks.
func (k *Keeper) Warnings() []string {
	var out []string
	if k.cfg.NoForward && !bridge.Forwards() {
		out = append(out, "WARNING: IPv4 forwarding is disabled")
	}
	// A firewall that cannot be read is no reason to show nothing of the rest.
	drops, _ := nft.ForwardDrops(k.hasIPv6())
	for _, table := range drops {
		out = append(out, fmt.Sprintf("WARNING: the firewall table %q drops forwarded packets by default: containers may not reach other hosts", table))
	}
	return out
}
