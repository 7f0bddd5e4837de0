package network

import (
	"bytes"
	"net"
	"net/netip"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
)

// announce tells the neighbours of a device where its addresses are. Of IPv4 that is worth a question to all of them only where they may
// have it otherwise: as a rule who has an address has the hardware address that is made of it, as the one before had.
func (k *Keeper) announce(l *lan, ns *bridge.Namespace, p bridge.Port) error {
	changed := l.parent != nil
	for _, a := range p.Addresses {
		changed = k.met(l, a.Addr(), p.MAC) || changed
	}
	return ns.Announce(p, changed)
}

// met notes by which hardware address neighbours meet an address of IPv4, and tells whether they may know it by another one.
func (k *Keeper) met(l *lan, a netip.Addr, mac net.HardwareAddr) (changed bool) {
	if !a.Is4() {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	changed = l.strange[a]
	if bytes.Equal(mac, ipam.MAC(a)) {
		delete(l.strange, a)
		return changed
	}
	if l.strange == nil {
		l.strange = map[netip.Addr]bool{}
	}
	l.strange[a] = true
	return true
}
