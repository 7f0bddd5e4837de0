package network

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/publish"
)

// member is a container on networks. Once entered it is not changed but replaced.
type member struct {
	id, name, hostname string
	sandbox            string               // ID
	endpoints          map[string]*endpoint // by network
	// carrier is the network by whose endpoint the published ports are reached, the one with the default route.
	carrier   string
	published []publish.Binding
	resolver  *resolver // nil without a name server
}

// endpoint is a container's place on one network.
type endpoint struct {
	id, network string
	lan         *lan // nil where it is not of the bridge driver, or not real
	veth        string
	address     netip.Addr
	mac         nt.HardwareAddr
	priority    int
	aliases     []string
	names       []string          // what others call it, without the network
	links       map[string]string // alias, for this container alone, to the other's name
}

func endpointOf(l *lan, m *member, wish *nt.EndpointSettings, p bridge.Port) *endpoint {
	e := &endpoint{id: newID(), network: l.name, lan: l, veth: p.Name, address: p.Address.Addr(), mac: nt.HardwareAddr(p.MAC)}
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

// carrier is the network whose endpoint has the container's default route: that of the highest priority, of these the
// first by name, among those that lead out at all.
func (k *Keeper) carrier(m *member) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var open []*endpoint
	for network, e := range m.endpoints {
		if l := k.lans[network]; l != nil && !l.closed {
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

// gateway is where the container's default route leads, the zero value for none.
func (k *Keeper) gateway(m *member) netip.Addr {
	if l := k.lan(k.carrier(m)); l != nil {
		return l.gateway
	}
	return netip.Addr{}
}

// enter makes m known, and returns what was known of the container before.
func (k *Keeper) enter(m *member) (old *member) {
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
			l.subnet.Remember(m.id, e.address)
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
	shown.MacAddress, shown.IPAddress, shown.Gateway, shown.IPPrefixLen = e.mac, e.address, netip.Addr{}, 0
	if l := k.lans[e.network]; l != nil && e.address.IsValid() {
		shown.IPPrefixLen = l.subnet.Prefix().Bits()
		if !l.closed {
			shown.Gateway = l.gateway
		}
	}
	return shown
}
