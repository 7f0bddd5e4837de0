package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
)

// Request is what a container asks of its network.
type Request struct {
	// Mode is the container's network mode: "", "default", "bridge", "host", "none" or "container:ID".
	Mode string
	// Name is the container's name, for messages and for the network's list of containers.
	Name string
	// Networks are the wished endpoints by network name.
	Networks             map[string]*nt.EndpointSettings
	Hostname, Domainname string
	// Ports are the wished published ports; Exposed with PublishAll are published on free ports of the host.
	Ports      nt.PortMap
	Exposed    nt.PortSet
	PublishAll bool
	// NetNS is the namespace of the other container for mode "container:ID"; it is handed back in the sandbox.
	NetNS *os.File
}

// network is the name of the network that the mode means; shared tells that it is another container's.
func (r Request) network() (name string, shared bool) {
	switch {
	case r.Mode == "" || r.Mode == nt.NetworkDefault:
		return nt.NetworkBridge, false
	case strings.HasPrefix(r.Mode, "container:"):
		return "", true
	}
	return r.Mode, false
}

// Sandbox is a container's network, ready for its first process.
type Sandbox struct {
	ID string
	// NetNS is the namespace to join, nil for the host's own. The caller closes it once the process is in it.
	NetNS *os.File
	// Endpoints are the container's endpoints by network name, filled in.
	Endpoints map[string]*nt.EndpointSettings
	// Ports as inspect shows them: published ones with the host ports chosen, exposed ones without bindings.
	Ports nt.PortMap
}

// Validate checks what can be checked of a request before the container is made.
func (k *Keeper) Validate(req Request) error {
	if _, shared := req.network(); shared {
		return nil
	}
	for network, e := range req.Networks {
		if err := validEndpoint(network, e); err != nil {
			return err
		}
	}
	_, err := wishes(req, k.defaultHostIP())
	return err
}

// validEndpoint refuses what Docker refuses on the networks that every engine has.
func validEndpoint(network string, e *nt.EndpointSettings) error {
	if e == nil || !predefined(network) {
		return nil
	}
	var faults []string
	if c := e.IPAMConfig; c != nil && (c.IPv4Address.IsValid() || c.IPv6Address.IsValid()) {
		faults = append(faults, "user specified IP address is supported on user defined networks only")
	}
	if len(e.Aliases) > 0 {
		faults = append(faults, "network-scoped aliases are only supported for user-defined networks")
	}
	if len(faults) == 0 {
		return nil
	}
	return errdefs.ErrInvalidArgument.WithMessage(
		fmt.Sprintf("invalid config for network %s: invalid endpoint settings:\n%s", network, strings.Join(faults, "\n")))
}

func predefined(network string) bool {
	return slices.Contains([]string{nt.NetworkBridge, nt.NetworkHost, nt.NetworkNone, nt.NetworkDefault}, network)
}

func (k *Keeper) defaultHostIP() netip.Addr {
	if k.cfg.HostIP.IsValid() {
		return k.cfg.HostIP
	}
	return netip.IPv4Unspecified()
}

// Join gives the container its network. An unknown network is errdefs.ErrNotFound; a port that is taken is
// errdefs.ErrInternal with Docker's message.
func (k *Keeper) Join(ctx context.Context, containerID string, req Request) (*Sandbox, error) {
	box, err := k.join(containerID, req)
	if err != nil {
		return nil, fmt.Errorf("failed to set up container networking: %w", err)
	}
	return box, nil
}

func (k *Keeper) join(containerID string, req Request) (*Sandbox, error) {
	name, shared := req.network()
	if shared {
		return &Sandbox{NetNS: req.NetNS, Ports: nt.PortMap{}}, nil
	}
	for network := range req.Networks {
		if !predefined(network) {
			return nil, errdefs.ErrNotFound.WithMessage("network " + network + " not found")
		}
	}
	m := &member{id: containerID, name: req.Name, network: name, endpoint: newID(), sandbox: newID()}
	box := &Sandbox{ID: m.sandbox, Ports: nt.PortMap{}}
	switch name {
	case nt.NetworkHost:
	case nt.NetworkNone:
		r, err := k.bare.take()
		if err != nil {
			return nil, err
		}
		r.ns.Seal()
		box.NetNS = r.ns.File
	case nt.NetworkBridge:
		var err error
		if box.NetNS, box.Ports, err = k.joinBridge(m, req); err != nil {
			return nil, err
		}
	default:
		return nil, errdefs.ErrNotFound.WithMessage("network " + name + " not found")
	}
	box.Endpoints = map[string]*nt.EndpointSettings{name: k.endpoint(m, req.Networks[name])}
	k.mu.Lock()
	old := k.members[containerID]
	k.members[containerID] = m
	k.mu.Unlock()
	if old != nil {
		k.bury(old)
	}
	return box, nil
}

func (k *Keeper) joinBridge(m *member, req Request) (*os.File, nt.PortMap, error) {
	if k.table == nil {
		return nil, nil, errdefs.ErrNotFound.WithMessage("network bridge not found")
	}
	wanted, err := wishes(req, k.defaultHostIP())
	if err != nil {
		return nil, nil, err
	}
	if err := bridge.ForwardIPv4(); err != nil {
		return nil, nil, err
	}
	r, err := k.warm.take()
	if err != nil {
		return nil, nil, fmt.Errorf("join network bridge: %w", err)
	}
	m.veth, m.address, m.mac = r.port.Name, r.port.Address.Addr(), nt.HardwareAddr(r.port.MAC)
	if wish := wishedMAC(req.Networks[nt.NetworkBridge]); wish != nil {
		m.mac = wish
		err = r.ns.SetMAC(net.HardwareAddr(wish))
	}
	if err == nil {
		m.published, err = k.publish(m, wanted)
	}
	if err != nil {
		k.drop(r)
		return nil, nil, err
	}
	r.ns.Seal()
	return r.ns.File, shownPorts(req, m.published), nil
}

func wishedMAC(e *nt.EndpointSettings) nt.HardwareAddr {
	if e == nil || len(e.MacAddress) == 0 {
		return nil
	}
	return e.MacAddress
}

// endpoint is the wish with what was decided.
func (k *Keeper) endpoint(m *member, wish *nt.EndpointSettings) *nt.EndpointSettings {
	e := &nt.EndpointSettings{}
	if wish != nil {
		e = wish.Copy()
	}
	e.NetworkID, e.EndpointID = k.records[m.network].ID, m.endpoint
	e.MacAddress, e.IPAddress, e.Gateway, e.IPPrefixLen = m.mac, m.address, netip.Addr{}, 0
	if m.address.IsValid() {
		e.Gateway, e.IPPrefixLen = k.gateway, k.subnet.Prefix().Bits()
	}
	return e
}

// Leave takes the container off its network: its ports are free when it returns, the rest goes in the background.
// A container that is on none is no error.
func (k *Keeper) Leave(containerID string) error {
	k.mu.Lock()
	m := k.members[containerID]
	delete(k.members, containerID)
	k.mu.Unlock()
	if m == nil {
		return nil
	}
	return k.bury(m)
}

func (k *Keeper) bury(m *member) error {
	if m.veth == "" {
		return nil
	}
	err := k.withdraw(m)
	k.graves.add(grave{veth: m.veth, address: m.address, forget: len(m.published) > 0})
	return err
}

// Rename tells the new name of a container.
func (k *Keeper) Rename(containerID, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if m := k.members[containerID]; m != nil {
		renamed := *m
		renamed.name = name
		k.members[containerID] = &renamed
	}
}

// Restore takes up a container that kept running while the daemon was away: its addresses and ports stay its own.
func (k *Keeper) Restore(containerID, name string, endpoints map[string]*nt.EndpointSettings, published nt.PortMap) error {
	for network, e := range endpoints {
		if e == nil || e.EndpointID == "" {
			continue
		}
		m := &member{id: containerID, name: name, network: network, endpoint: e.EndpointID, mac: e.MacAddress, address: e.IPAddress}
		if network == nt.NetworkBridge && k.table != nil {
			if !e.IPAddress.Is4() {
				return fmt.Errorf("restore network of container %s: endpoint without address: %w", containerID, errdefs.ErrDataLoss)
			}
			m.veth = k.vethName(e.IPAddress)
			m.published = bindings(e.IPAddress, published)
		}
		k.mu.Lock()
		if _, known := k.found[m.veth]; !known && m.veth != "" {
			// The address is this container's, whether or not its device was seen.
			k.subnet.Take(m.address)
		}
		delete(k.found, m.veth)
		k.members[containerID] = m
		k.mu.Unlock()
		if err := k.republish(m); err != nil {
			return fmt.Errorf("restore network of container %s: %w", containerID, err)
		}
	}
	return nil
}

// Sweep removes what containers left behind that were not restored. Call it once, after the last Restore.
func (k *Keeper) Sweep() error {
	if k.table == nil {
		return nil
	}
	k.mu.Lock()
	found := k.found
	k.found = map[string]netip.Addr{}
	used := map[netip.AddrPort]bool{}
	for _, m := range k.members {
		for _, b := range m.published {
			used[b.target] = true
		}
	}
	k.mu.Unlock()
	for veth, address := range found {
		k.log.Info("remove network device that no container has", "device", veth)
		if err := bridge.RemovePort(veth); err != nil {
			return err
		}
		k.graves.add(grave{veth: veth, address: address, forget: true})
	}
	return k.withdrawAllBut(used)
}
