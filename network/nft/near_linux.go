package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// nearby leads who dials a published port at an address that is of a link alone to the socket for them, see package near.
func (s sets) nearby() (rules []rule) {
	if !s.family.six || s.near == 0 {
		return nil
	}
	ofLink := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: s.family.target, Len: 2},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: []byte{0xff, 0xc0}, Xor: []byte{0, 0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0xfe, 0x80}},
	}
	there := []expr.Any{
		&expr.Immediate{Register: 8, Data: binary.BigEndian.AppendUint16(nil, s.near)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: s.family.proto, RegProtoMin: 8},
	}
	for _, every := range []bool{false, true} {
		for _, m := range []*nftables.Set{s.ports, s.ranges} {
			rules = append(rules, join(ofLink, s.dialled(every), leads(m), there))
		}
	}
	return rules
}

// Leads tells where a published port of TCP leads.
func (t *Table) Leads(dialled netip.AddrPort) (netip.AddrPort, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, p := range t.ports {
		at := k.host.Addr()
		if k.proto != unix.IPPROTO_TCP || at != dialled.Addr() && (!at.IsUnspecified() || at.Is6() != dialled.Addr().Is6()) {
			continue
		}
		if nth := int(dialled.Port()) - int(k.host.Port()); nth >= 0 && nth <= int(k.more) {
			return netip.AddrPortFrom(p.Target.Addr(), p.Target.Port()+uint16(nth)), true
		}
	}
	return netip.AddrPort{}, false
}
