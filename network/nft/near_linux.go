package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Near serves published ports by a socket of the engine's, see package near.
type Near interface {
	// Open opens the socket where it is not open, and gives its port, or 0 where there is none.
	Open(leads func(proto uint8, dialled netip.AddrPort) (netip.AddrPort, bool)) uint16
	// Check ends connections by ports that lead elsewhere by now, or nowhere.
	Check()
}

// Relayed tells whether the publication is of a port of IPv6 that leads to an address of IPv4, which it does by the socket.
func (p Publication) Relayed() bool { return p.Host.Addr().Is6() && p.Target.Addr().Is4() }

// leading are maps of published ports and of rows of them: of those that lead to containers, or that are relayed.
type leading struct {
	ports, ranges *nftables.Set
	relayed       bool
}

// leading gives the family's.
func (s sets) leading() []leading {
	all := []leading{{s.ports, s.ranges, false}}
	if s.family.six {
		all = append(all, leading{s.relayed, s.relayedRanges, true})
	}
	return all
}

// maps are those of all.
func (s sets) maps() (all []*nftables.Set) {
	for _, l := range s.leading() {
		all = append(all, l.ports, l.ranges)
	}
	return all
}

// nearby leads who dials a published port to the socket, where the port is relayed or the address is of a link alone.
func (s sets) nearby() (rules []rule) {
	if !s.family.six || s.near == 0 {
		return nil
	}
	ofLink := []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: s.family.target, Len: 2},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: []byte{0xff, 0xc0}, Xor: []byte{0, 0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0xfe, 0x80}},
	}
	there := []expr.Any{
		&expr.Immediate{Register: 8, Data: binary.BigEndian.AppendUint16(nil, s.near)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: s.family.proto, RegProtoMin: 8},
	}
	for _, every := range []bool{false, true} {
		rules = append(rules,
			join(ofLink, s.dialled(every), leads(s.ports), there),
			join(ofLink, s.dialled(every), leads(s.ranges), there),
			join(s.dialled(every), leads(s.relayed), there),
			join(s.dialled(every), leads(s.relayedRanges), there))
	}
	return rules
}

// Leads tells where a published port leads, by the protocol's number.
func (t *Table) Leads(proto uint8, dialled netip.AddrPort) (netip.AddrPort, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	every := netip.AddrPortFrom(Unspecified(dialled.Addr()), dialled.Port())
	for _, at := range []netip.AddrPort{dialled, every} {
		if p, known := t.ports[key{proto, at, 0}]; known {
			return p.Target, true
		}
	}
	for k, p := range t.ports {
		nth := int(dialled.Port()) - int(k.host.Port())
		if at := k.host.Addr(); k.proto == proto && (at == dialled.Addr() || at == every.Addr()) && nth >= 0 && nth <= int(k.more) {
			return netip.AddrPortFrom(p.Target.Addr(), p.Target.Port()+uint16(nth)), true
		}
	}
	return netip.AddrPort{}, false
}

// Unspecified stands for all addresses of the family.
func Unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
