package network

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/network/nft"
)

// find returns the name of the network that ref means: its name, its ID or the beginning of its ID.
func (k *Keeper) find(ref string) (string, error) {
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

// Inspect finds a network by name, ID or the beginning of its ID, and shows the containers on it.
func (k *Keeper) Inspect(ref string) (nt.Inspect, error) {
	name, err := k.find(ref)
	if err != nil {
		return nt.Inspect{}, err
	}
	return k.inspect(name), nil
}

func (k *Keeper) inspect(name string) nt.Inspect {
	r := k.records[name]
	n := nt.Inspect{
		Network: nt.Network{
			Name: name, ID: r.ID, Created: r.Created, Scope: "local", Driver: r.Driver, EnableIPv4: true,
			IPAM:    nt.IPAM{Driver: "default", Config: []nt.IPAMConfig{}},
			Options: map[string]string{}, Labels: map[string]string{},
		},
		Containers: map[string]nt.EndpointResource{},
	}
	bits := 32
	if name == nt.NetworkBridge && k.subnet != nil {
		bits = k.subnet.Prefix().Bits()
		n.IPAM.Config = append(n.IPAM.Config, nt.IPAMConfig{Subnet: k.subnet.Prefix(), Gateway: k.gateway})
		n.Options = map[string]string{
			"com.docker.network.bridge.default_bridge":       "true",
			"com.docker.network.bridge.enable_icc":           "true",
			"com.docker.network.bridge.enable_ip_masquerade": "true",
			"com.docker.network.bridge.host_binding_ipv4":    k.defaultHostIP().String(),
			"com.docker.network.bridge.name":                 k.device.Name,
			"com.docker.network.driver.mtu":                  strconv.Itoa(k.mtu),
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, m := range k.members {
		if m.network != name {
			continue
		}
		e := nt.EndpointResource{Name: m.name, EndpointID: m.endpoint, MacAddress: m.mac}
		if m.address.IsValid() {
			e.IPv4Address = netip.PrefixFrom(m.address, bits)
		}
		n.Containers[id] = e
	}
	return n
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
	var all []nt.Inspect
	for _, name := range slices.Sorted(maps.Keys(k.records)) {
		r := k.records[name]
		if filters.Has("dangling") && dangling || name == nt.NetworkBridge && k.subnet == nil {
			continue
		}
		if !filters.Exact("driver", r.Driver) || !filters.Exact("scope", "local") || !filters.Exact("type", "builtin") ||
			!contains(filters, "name", name) || !contains(filters, "id", r.ID) || filters.Has("label") {
			continue
		}
		all = append(all, k.inspect(name))
	}
	return all, nil
}

// contains tells whether one of the filter's values is part of value, or the filter was not given.
func contains(f api.Filters, filter, value string) bool {
	if !f.Has(filter) {
		return true
	}
	return slices.ContainsFunc(f.Get(filter), func(part string) bool { return strings.Contains(value, part) })
}

// Remove removes a user's network. Those every engine has cannot be removed.
func (k *Keeper) Remove(ctx context.Context, ref string) error {
	name, err := k.find(ref)
	if err != nil {
		return err
	}
	return errdefs.ErrPermissionDenied.WithMessage(name + " is a pre-defined network and cannot be removed")
}

// Prune removes the users' networks that no container is on; there are none to remove.
func (k *Keeper) Prune(ctx context.Context, filters api.Filters) (nt.PruneReport, error) {
	return nt.PruneReport{}, filters.Check("until", "label", "label!")
}

// Connect puts a container on one more network.
func (k *Keeper) Connect(ctx context.Context, ref, containerID string, e *nt.EndpointSettings) error {
	if _, err := k.find(ref); err != nil {
		return err
	}
	return errdefs.ErrNotImplemented.WithMessage("connecting a container to further networks is not implemented by this engine")
}

// Disconnect takes a container off one of its networks.
func (k *Keeper) Disconnect(ctx context.Context, ref, containerID string, force bool) error {
	if _, err := k.find(ref); err != nil {
		return err
	}
	return errdefs.ErrNotImplemented.WithMessage("disconnecting a container from its network is not implemented by this engine")
}

// Warnings tell what on this host is in the way of containers' networks.
func (k *Keeper) Warnings() []string {
	var out []string
	// A firewall that cannot be read is no reason to show nothing of the rest.
	drops, _ := nft.ForwardDrops()
	for _, table := range drops {
		out = append(out, fmt.Sprintf("WARNING: the firewall table %q drops forwarded packets by default: containers may not reach other hosts", table))
	}
	return out
}
