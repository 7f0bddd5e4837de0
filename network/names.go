package network

import (
	"net/netip"
	"slices"
	"strings"
)

// names are who is called what on one network: endpoints by name in lower case.
type names map[string][]*endpoint

func (n names) add(e *endpoint) {
	for _, name := range e.names {
		key := strings.ToLower(name)
		if !slices.Contains(n[key], e) {
			n[key] = append(n[key], e)
		}
	}
}

func (n names) remove(e *endpoint) {
	for _, name := range e.names {
		key := strings.ToLower(name)
		if n[key] = slices.DeleteFunc(n[key], func(o *endpoint) bool { return o == e }); len(n[key]) == 0 {
			delete(n, key)
		}
	}
}

// Lookup finds the addresses that a name has for a container: those of the containers so called on the networks it is
// on, also by "name.network", and of those it is linked to. known is false for a name that nobody has. The container
// itself is among them. Names are compared without regard to case.
func (k *Keeper) Lookup(containerID, name string) (addresses []netip.Addr, known bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.members[containerID]
	if m == nil {
		return nil, false
	}
	for network, own := range m.endpoints {
		l := k.lans[network]
		if l == nil || len(l.names) == 0 {
			continue
		}
		for _, asked := range []string{name, strings.TrimSuffix(name, "."+strings.ToLower(network))} {
			if other, linked := own.links[asked]; linked {
				asked = strings.ToLower(other)
			}
			for _, e := range l.names[asked] {
				known = true
				if e.address.IsValid() && !slices.Contains(addresses, e.address) {
					addresses = append(addresses, e.address)
				}
			}
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	return addresses, known
}

// Reverse finds who has an address on one of the container's networks: "name.network".
func (k *Keeper) Reverse(containerID string, address netip.Addr) (name string, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.members[containerID]
	if m == nil {
		return "", false
	}
	for network := range m.endpoints {
		l := k.lans[network]
		if l == nil || !l.subnet.Contains(address) {
			continue
		}
		for _, other := range k.members {
			if e := other.endpoints[network]; e != nil && e.address == address && len(e.names) > 0 {
				return e.names[0] + "." + network, true
			}
		}
	}
	return "", false
}
