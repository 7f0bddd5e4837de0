package nft

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Containers of some networks are kept apart: whatever they send has to go to the host, by its hardware address, the gate. The kernel's own
// way, ports of a bridge that are isolated, also keeps them from what a neighbour publishes: where it filters bridged packets
// (bridge-nf-call-iptables), one that is led on to a neighbour is turned round on the bridge and never passes the host.

// addGates makes the sets and the chain for who has a gate, for the batch.
func (m *members) addGates(conn *nftables.Conn, table *nftables.Table, l *links) {
	m[apart] = &nftables.Set{Table: table, Name: membersSets[apart], KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian}
	m[gates] = &nftables.Set{
		Table: table, Name: membersSets[gates], Concatenation: true, KeyByteOrder: binaryutil.NativeEndian,
		KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr),
	}
	for _, set := range []*nftables.Set{m[apart], m[gates]} {
		conn.AddSet(set, nil)
	}
	l.add(conn, table)
	chain := conn.AddChain(&nftables.Chain{Name: "aside", Table: table})
	for _, r := range aside(l) {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: r})
	}
}

// beside sends to the chain aside what who has a gate sends elsewhere.
func (m members) beside() rule {
	device := &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 8}
	return join([]expr.Any{
		device, &expr.Lookup{SourceRegister: 8, SetName: m[apart].Name, SetID: m[apart].ID},
		&expr.Payload{DestRegister: 12, Base: expr.PayloadBaseLLHeader, Offset: 0, Len: 6},
		&expr.Lookup{SourceRegister: 8, SetName: m[gates].Name, SetID: m[gates].ID, Invert: true},
	}, jump("aside"))
}

// aside lets pass what is for all and asks, or tells, who has an address: so the host is found. A neighbour that hears it, too, cannot
// answer, unless they are linked. Of all else only what is between these passes.
func aside(l *links) []rule {
	to := func(head ...byte) []expr.Any {
		return []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 0, Len: uint32(len(head))},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: head},
		}
	}
	back := verdict(expr.VerdictReturn)
	rules := []rule{
		join(ether(unix.ETH_P_ARP), to(0xff, 0xff, 0xff, 0xff, 0xff, 0xff), back),
		join(ether(unix.ETH_P_IPV6), to(0x33, 0x33), neighbours(solicitation), back),
		join(ether(unix.ETH_P_IPV6), to(0x33, 0x33), neighbours(advertisement), back),
	}
	return append(append(rules, l.pass()...), verdict(expr.VerdictDrop))
}

// Kinds of messages by which IPv6 finds neighbours.
const solicitation, advertisement = 135, 136

// neighbours matches messages of this kind.
func neighbours(kind byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind}},
	}
}
