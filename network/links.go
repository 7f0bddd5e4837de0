package network

import (
	"net"

	nt "github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/network/nft"
)

// Linked is another container that one is linked to (--link), and which of its ports that is for: on a default network that keeps
// containers apart these are reached all the same.
type Linked struct {
	ID    string
	Ports []nt.Port
}

// relink lets those talk that are linked, as things are by now.
func (k *Keeper) relink() {
	l := k.lan(nt.NetworkBridge)
	if l == nil || l.settings.ICC {
		return
	}
	k.linking.Lock()
	defer k.linking.Unlock()
	if err := k.table.Link(k.linked()); err != nil {
		k.log.Error("containers that are linked may not reach one another", "err", err)
	}
}

// linked are all links between containers on the default network.
func (k *Keeper) linked() map[nft.Link]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := map[nft.Link]bool{}
	for _, m := range k.members {
		from := m.endpoints[nt.NetworkBridge]
		for _, one := range m.linked {
			other := k.members[one.ID]
			if from == nil || other == nil || other.endpoints[nt.NetworkBridge] == nil {
				continue
			}
			for _, link := range from.linksTo(other.endpoints[nt.NetworkBridge], one.Ports) {
				all[link] = true
			}
		}
	}
	return all
}

// linksTo are the links to ports of another endpoint, in each family that both have.
func (e *endpoint) linksTo(o *endpoint, ports []nt.Port) (out []nft.Link) {
	ours, theirs := e.addresses, o.addresses
	for _, six := range []bool{false, true} {
		from, to := ours.V4, theirs.V4
		if six {
			from, to = ours.V6, theirs.V6
		}
		if !from.IsValid() || !to.IsValid() {
			continue
		}
		for _, p := range ports {
			number, known := map[nt.IPProtocol]uint8{nt.TCP: unix.IPPROTO_TCP, nt.UDP: unix.IPPROTO_UDP}[p.Proto()]
			if known {
				out = append(out, nft.Link{
					From: nft.PeerOf(e.veth, net.HardwareAddr(e.mac), from), To: nft.PeerOf(o.veth, net.HardwareAddr(o.mac), to),
					Proto: number, Port: p.Num(),
				})
			}
		}
	}
	return out
}
