package nft

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// family is what differs between the tables of IPv4 and of IPv6.
type family struct {
	six     bool
	table   nftables.TableFamily
	proto   uint32
	address nftables.SetDatatype
	length  uint32 // of an address, in bytes
	// source and target are where the addresses stand in a packet's header.
	source, target uint32
	// loopback is how the host's own addresses begin.
	loopback []byte
	// prohibited is the code of ICMP, or ICMPv6, for "communication administratively prohibited".
	prohibited uint8
}

// families are those by the numbers that familyOf gives.
func families() [2]family {
	return [2]family{
		{
			table: nftables.TableFamilyIPv4, proto: unix.NFPROTO_IPV4, address: nftables.TypeIPAddr, length: 4,
			source: 12, target: 16, loopback: []byte{127}, prohibited: 13,
		},
		{
			six: true, table: nftables.TableFamilyIPv6, proto: unix.NFPROTO_IPV6, address: nftables.TypeIP6Addr, length: 16,
			source: 8, target: 24, loopback: netip.IPv6Loopback().AsSlice(), prohibited: 1,
		},
	}
}

// familyOf is 0 for IPv4 and 1 for IPv6.
func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// of are the ranges of the family.
func (f family) of(all []netip.Prefix) (out []netip.Prefix) {
	for _, p := range all {
		if p.Addr().Is6() == f.six {
			out = append(out, p)
		}
	}
	return out
}

// words is how many registers of four bytes an address takes.
func (f family) words() uint32 { return f.length / 4 }

// unspecified is the address that stands for all.
func (f family) unspecified() []byte { return make([]byte, f.length) }

// load puts one of a packet's addresses into registers.
func (f family) load(offset, register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.length}
}

// isLoopback matches packets whose address at offset is one of the host's loopback.
func (f family) isLoopback(offset uint32) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(f.loopback))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: f.loopback},
	}
}

// rewrite puts an address of IPv6 from registers into the packet, without the kernel remembering that.
func (f family) rewrite(offset, register uint32) []expr.Any {
	return []expr.Any{&expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.length,
		// The checksum of what the packet carries is to follow, as the flag says. The library leaves the flag out where there
		// is no checksum of the header, and IPv6 has none: the one that is named is put where the address is written next.
		CsumType: expr.CsumTypeInet, CsumOffset: offset, CsumFlags: unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR,
	}}
}

// interval is a range in a set of them; value is what a map leads to from there, nil in a set.
func interval(p netip.Prefix, value []byte) []nftables.SetElement {
	first, last := edges(p)
	out := []nftables.SetElement{{Key: first.AsSlice(), Val: value}}
	if end := last.Next(); end.IsValid() { // one that ends with the addresses has no end
		out = append(out, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
	}
	return out
}

// edges are the first and the last address of a range.
func edges(p netip.Prefix) (first, last netip.Addr) {
	first = p.Masked().Addr()
	b := first.AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ = netip.AddrFromSlice(b)
	return first, last
}

// between is the range with these edges.
func between(first, last netip.Addr) netip.Prefix {
	bits := first.BitLen()
	for bits > 0 && !netip.PrefixFrom(first, bits).Contains(last) {
		bits--
	}
	return netip.PrefixFrom(first, bits)
}
