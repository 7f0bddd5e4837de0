package network

import (
	"net/netip"
	"slices"
	"strings"
)

// names are who is called what on one network, and who is where.
type names struct {
	called map[string][]*endpoint // by name in lower case
	at     map[netip.Addr]*endpoint
}

func newNames() names {
	return names{called: map[string][]*endpoint{}, at: map[netip.Addr]*endpoint{}}
}

func (n names) add(e *endpoint) {
	if len(e.names) > 0 {
		for _, a := range e.addresses.All() {
			n.at[a] = e
		}
	}
	for _, name := range e.names {
		key := strings.ToLower(name)
		if !slices.Contains(n.called[key], e) {
			n.called[key] = append(n.called[key], e)
		}
	}
}

func (n names) remove(e *endpoint) {
	for _, a := range e.addresses.All() {
		if n.at[a] == e {
			delete(n.at, a)
		}
	}
	for _, name := range e.names {
		key := strings.ToLower(name)
		n.called[key] = slices.DeleteFunc(n.called[key], func(o *endpoint) bool { return o == e })
		if len(n.called[key]) == 0 {
			delete(n.called, key)
		}
	}
}

// Lookup finds the addresses that a name has for a container: those of the containers so called on the networks it is
// on, also by "name.network", and of those it is linked to. known is false for a name that nobody has. The container
// itself is among them. Where it is kept apart from its neighbours on one of the networks, those on the others count. Names
// are compared without regard to case.
func (k *Keeper) Lookup(containerID, name string) (addresses []netip.Addr, known bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.members[containerID]
	if m == nil {
		return nil, false
	}
	var apart []netip.Addr // of neighbours that it can talk to on another network at most
	for network, own := range m.endpoints {
		l := k.lans[network]
		if l == nil {
			continue
		}
		to := &addresses
		if !l.settings.ICC {
			to = &apart
		}
		for _, asked := range []string{name, strings.TrimSuffix(name, "."+strings.ToLower(network))} {
			if other, linked := own.links[asked]; linked {
				asked = strings.ToLower(other)
			}
			for _, e := range l.names.called[asked] {
				known = true
				for _, a := range e.addresses.All() {
					if !slices.Contains(*to, a) {
						*to = append(*to, a)
					}
				}
			}
		}
	}
	if len(addresses) == 0 {
		addresses = apart
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
		if l := k.lans[network]; l != nil && l.names.at[address] != nil {
			return l.names.at[address].names[0] + "." + network, true
		}
	}
	return "", false
}
