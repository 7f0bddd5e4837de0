package network

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
	"github.com/cove-containers/cove/network/nft"
	"github.com/cove-containers/cove/network/publish"
)

// member is a container on networks. Once entered it is not changed but replaced.
type member struct {
	id, name, hostname string
	sandbox            string               // ID
	endpoints          map[string]*endpoint // by network
	// carrier and carrier6 are the networks by whose endpoints the published ports are reached in each family, those with the
	// default routes.
	carrier, carrier6 string
	published         []publish.Binding
	sources           publish.Sources // who may connect to them
	resolver          *resolver       // nil without a name server
	linked            []Linked
}

// endpoint is a container's place on one network.
type endpoint struct {
	id, network string
	lan         *lan // nil where it is not of the bridge driver, or not real
	veth        string
	addresses   ipam.Pair
	mac         nt.HardwareAddr
	priority    int
	aliases     []string
	names       []string          // what others call it, without the network
	links       map[string]string // alias, for this container alone, to the other's name
}

// memberOf is who the firewall is told that a device is.
func memberOf(p bridge.Port) nft.Member {
	return nft.Member{Device: p.Name, MAC: p.MAC, Addresses: p.Sends(), Routes: p.Routes, Gate: p.Gate}
}

func addressesOf(p bridge.Port) ipam.Pair { return (&ready{port: p}).Addresses() }

func endpointOf(l *lan, m *member, wish *nt.EndpointSettings, p bridge.Port) *endpoint {
	e := &endpoint{id: newID(), network: l.name, lan: l, veth: p.Name, addresses: addressesOf(p), mac: nt.HardwareAddr(p.MAC)}
	if wish != nil {
		e.priority, e.aliases, e.links = wish.GwPriority, wish.Aliases, links(wish.Links)
	}
	if l.named() {
		e.names = m.dnsNames(e.aliases)
	}
	return e
}

// dnsNames are the names by which others on a user's network find the container: its own, those asked for, the
// beginning of its ID, its host name.
func (m *member) dnsNames(aliases []string) []string {
	var names []string
	for _, name := range append(append([]string{m.name}, aliases...), m.id[:min(12, len(m.id))], m.hostname) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// links reads "container:alias" pairs.
func links(texts []string) map[string]string {
	out := map[string]string{}
	for _, text := range texts {
		other, alias, ok := strings.Cut(text, ":")
		if !ok {
			alias = other
		}
		out[strings.ToLower(alias)] = strings.TrimPrefix(other, "/")
	}
	return out
}

// carries tells whether the container's default route of a family is by this network.
func (m *member) carries(network string) bool { return network == m.carrier || network == m.carrier6 }

// carriedIn tells whether the networks by which the container was reached are those that it is on now.
func (m *member) carriedIn(now *member) bool {
	lost := func(network string) bool { return network != "" && now.endpoints[network] == nil }
	return (m.carrier != "" || m.carrier6 != "") && !lost(m.carrier) && !lost(m.carrier6)
}

// settle decides the networks by which the container reaches the world and is reached.
func (k *Keeper) settle(m *member) {
	m.carrier, m.carrier6 = k.carrierOf(m, false), k.carrierOf(m, true)
}

// carrierOf is the network whose endpoint has the container's default route of a family: that of the highest priority, of
// these the first by name, among those that lead out at all.
func (k *Keeper) carrierOf(m *member, six bool) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var open []*endpoint
	for network, e := range m.endpoints {
		if l := k.lans[network]; l != nil && !l.closed && (six && e.addresses.V6.IsValid() || !six && e.addresses.V4.IsValid()) {
			open = append(open, e)
		}
	}
	if len(open) == 0 {
		return ""
	}
	return slices.MinFunc(open, func(a, b *endpoint) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), strings.Compare(a.network, b.network))
	}).network
}

// gateways are where the container's default routes lead.
func (k *Keeper) gateways(m *member) []netip.Addr {
	var p ipam.Pair
	if l := k.lan(k.carrierOf(m, false)); l != nil {
		p.V4 = l.routers.V4
	}
	if l := k.lan(k.carrierOf(m, true)); l != nil {
		p.V6 = l.routers.V6
	}
	return p.All()
}

// enter makes m known, and returns what was known of the container before.
func (k *Keeper) enter(m *member) (old *member) {
	defer k.relink()
	k.mu.Lock()
	defer k.mu.Unlock()
	old = k.exit(m.id)
	k.enterHeld(m)
	if n := len(k.members); n > k.neighbours {
		k.neighbours = max(256, 2*k.neighbours)
		if err := bridge.RoomForNeighbours(k.neighbours); err != nil {
			k.log.Warn("the host's table of neighbours stays as small as it is", "containers", n, "err", err)
		}
	}
	return old
}

// enterHeld makes m known; k.mu is held.
func (k *Keeper) enterHeld(m *member) {
	k.members[m.id] = m
	for network, e := range m.endpoints {
		if l := k.lans[network]; l != nil {
			l.space.Remember(m.id, e.addresses)
			l.names.add(e)
		}
	}
}

// exit makes the container unknown; k.mu is held. It returns what was known.
func (k *Keeper) exit(containerID string) *member {
	m := k.members[containerID]
	if m == nil {
		return nil
	}
	delete(k.members, containerID)
	for network, e := range m.endpoints {
		if l := k.lans[network]; l != nil {
			l.names.remove(e)
		}
	}
	return m
}

// shownEndpoints are the wishes with what was decided.
func (k *Keeper) shownEndpoints(m *member, wanted []wished) map[string]*nt.EndpointSettings {
	out := map[string]*nt.EndpointSettings{}
	for _, w := range wanted {
		out[w.network] = k.shownEndpoint(m.endpoints[w.network], w.EndpointSettings)
	}
	return out
}

func (k *Keeper) shownEndpoint(e *endpoint, wish *nt.EndpointSettings) *nt.EndpointSettings {
	shown := &nt.EndpointSettings{}
	if wish != nil {
		shown = wish.Copy()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	shown.NetworkID, shown.EndpointID, shown.DNSNames = k.records[e.network].ID, e.id, e.names
	shown.MacAddress, shown.IPAddress, shown.Gateway, shown.IPPrefixLen = e.mac, e.addresses.V4, netip.Addr{}, 0
	shown.GlobalIPv6Address, shown.IPv6Gateway, shown.GlobalIPv6PrefixLen = e.addresses.V6, netip.Addr{}, 0
	l := k.lans[e.network]
	if l != nil && e.addresses.V4.IsValid() {
		shown.IPPrefixLen = l.space.V4.Prefix().Bits()
		if !l.closed {
			shown.Gateway = l.routers.V4
		}
	}
	if l != nil && l.space.V6 != nil && e.addresses.V6.IsValid() {
		shown.GlobalIPv6PrefixLen = l.space.V6.Prefix().Bits()
		if !l.closed {
			shown.IPv6Gateway = l.routers.V6
		}
	}
	return shown
}
