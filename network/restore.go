package network

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
	"github.com/cove-containers/cove/network/publish"
)

// Restore takes up a container that kept running while the daemon was away: its addresses and ports stay its own, and
// its questions for names are answered again. was is its sandbox as Join gave it; req what it asks of its network. What
// cannot be taken up is told, and keeps the rest from nothing.
func (k *Keeper) Restore(containerID string, was Sandbox, req Request) error {
	m := &member{id: containerID, name: req.Name, hostname: req.Hostname, sandbox: was.ID, linked: req.Linked, endpoints: map[string]*endpoint{}}
	var errs []error
	for network, e := range was.Endpoints {
		if e == nil || e.EndpointID == "" {
			continue
		}
		one := &endpoint{
			id: e.EndpointID, network: network, mac: e.MacAddress, addresses: ipam.PairOf(e.IPAddress, e.GlobalIPv6Address), priority: e.GwPriority,
			aliases: e.Aliases, links: links(e.Links),
		}
		if l := k.lan(network); l != nil {
			if !one.addresses.IsValid() {
				errs = append(errs, fmt.Errorf("endpoint on network %s has no address: %w", network, errdefs.ErrDataLoss))
				continue
			}
			port := k.port(l, one.addresses, "")
			one.lan, one.veth = l, port.Name
			if l.named() {
				one.names = m.dnsNames(e.Aliases) // not those of its start: it may have been renamed
			}
			port.MAC, port.LinkLocal = net.HardwareAddr(one.mac), wishedLinkLocal(e)
			port.Routes = port.Routes || wishedOptions(e).Routing
			if l.parent == nil {
				errs = append(errs, l.spans.Rejoin(port.Name, port.Apart), k.table.Admit(memberOf(port)))
				k.met(l, one.addresses.V4, port.MAC)
			}
			k.mu.Lock()
			l.space.Keep(one.addresses) // they are this container's, whether or not its device was seen
			delete(k.found, one.veth)
			k.mu.Unlock()
		}
		m.endpoints[network] = one
	}
	k.settle(m)
	if way := k.way(m); way.first != nil {
		m.published = publish.Bindings(way.to, was.Ports)
		var err error
		m.sources, err = publish.ReadSources(req.Annotations)
		errs = append(errs, err)
	}
	if was.Names != nil && was.NetNS != nil {
		var err error
		m.resolver, err = k.openNames(containerID, was.Names, was.NetNS, req.Resolv)
		errs = append(errs, err)
	}
	if old := k.enter(m); old != nil {
		old.resolver.close()
	}
	// Before all have been taken up nobody can be told that there is no such name.
	k.mu.Lock()
	swept := k.swept
	k.mu.Unlock()
	if swept {
		m.resolver.start()
	}
	if err := errors.Join(append(errs, k.republish(m))...); err != nil {
		return fmt.Errorf("restore network of container %s: %w", containerID, err)
	}
	return nil
}

// Remember tells the addresses that a container which does not run had last.
func (k *Keeper) Remember(containerID string, last map[string]netip.Addr) {
	for network, address := range last {
		if l := k.lan(network); l != nil {
			l.space.Remember(containerID, ipam.PairOf(address))
		}
	}
}

// Sweep removes what containers left behind that were not restored. Call it once, after the last Restore.
func (k *Keeper) Sweep() error {
	k.mu.Lock()
	found := k.found
	k.found = map[string]stray{}
	k.swept = true
	restored := slices.Collect(maps.Values(k.members))
	k.mu.Unlock()
	for _, m := range restored {
		m.resolver.start()
	}
	var errs []error
	for veth, s := range found {
		k.log.Info("remove network device that no container has", "device", veth)
		if err := bridge.RemovePort(veth); err != nil {
			errs = append(errs, err)
		}
		k.graves.add(grave{veth: veth, lan: s.lan, addresses: s.addresses, forget: true})
	}
	owned, _ := k.owned()
	for _, device := range k.table.Admitted() {
		if !owned[device] {
			errs = append(errs, k.table.Expel(device))
		}
	}
	// A bridge that somebody has given another name has lost its containers to the new one.
	return errors.Join(append(errs, k.sweepBridges(), k.table.Replace(k.table.Published(), k.wanted()))...)
}
