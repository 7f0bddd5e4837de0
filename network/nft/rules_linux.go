package nft

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// build puts into the batch of conn: the old table away, the new one with its sets and rules.
func build(conn *nftables.Conn, name string, bridges []Bridge) sets {
	table := &nftables.Table{Name: name, Family: nftables.TableFamilyIPv4}
	// Deleting what is not there would fail the batch: added first, it is always there.
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	s := addSets(conn, table, bridges)
	publish := conn.AddChain(&nftables.Chain{Name: "publish", Table: table})
	wall := conn.AddChain(&nftables.Chain{Name: "wall", Table: table})
	base := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{Name: name, Table: table, Type: kind, Hooknum: hook, Priority: &priority})
	}
	for _, c := range []struct {
		chain *nftables.Chain
		rules []rule
	}{
		{base("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw), s.guard()},
		{base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest), prerouting()},
		{base("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, *nftables.ChainPriorityNATDest), output()},
		{base("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, *nftables.ChainPriorityFilter), s.forward()},
		{base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource), s.postrouting()},
		{publish, s.publish()},
		{wall, s.wall()},
	} {
		for _, r := range c.rules {
			conn.AddRule(&nftables.Rule{Table: table, Chain: c.chain, Exprs: r})
		}
	}
	return s
}

func addSets(conn *nftables.Conn, table *nftables.Table, bridges []Bridge) sets {
	s := sets{
		table:   table,
		bridges: &nftables.Set{Table: table, Name: "bridges", KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian},
		closed:  &nftables.Set{Table: table, Name: "closed", KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian},
		inside: &nftables.Set{Table: table, Name: "inside", Concatenation: true,
			KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIFName)},
		subnets: &nftables.Set{Table: table, Name: "subnets", Interval: true, KeyType: nftables.TypeIPAddr},
	}
	all := map[*nftables.Set][]nftables.SetElement{}
	for _, b := range bridges {
		for set, elements := range s.of(b) {
			all[set] = append(all[set], elements...)
		}
	}
	// Adding a set fails only on elements that cannot be encoded; these can.
	for _, set := range []*nftables.Set{s.bridges, s.closed, s.inside, s.subnets} {
		conn.AddSet(set, all[set])
	}
	s.addPortSets(conn)
	return s
}

// of is what the sets hold for one network.
func (s sets) of(b Bridge) map[*nftables.Set][]nftables.SetElement {
	name := ifname(b.Name)
	out := map[*nftables.Set][]nftables.SetElement{s.bridges: {{Key: name}}}
	if b.Closed {
		out[s.closed] = []nftables.SetElement{{Key: name}}
	}
	if !b.Apart {
		out[s.inside] = []nftables.SetElement{{Key: append(append([]byte{}, name...), name...)}}
	}
	if b.Masquerade && !b.Closed && b.Subnet.IsValid() {
		first := b.Subnet.Masked().Addr().As4()
		end := binary.BigEndian.Uint32(first[:]) + 1<<(32-b.Subnet.Bits())
		out[s.subnets] = []nftables.SetElement{
			{Key: first[:]}, {Key: binary.BigEndian.AppendUint32(nil, end), IntervalEnd: true},
		}
	}
	return out
}

// rule is one rule: expressions that the kernel runs until one does not match.
type rule []expr.Any

func join(parts ...[]expr.Any) rule {
	var r rule
	for _, p := range parts {
		r = append(r, p...)
	}
	return r
}

// guard: 127.0.0.0/8 is let through the bridges for the host's own connections to published ports (see
// bridge.RouteLocalNet); what comes from a container to such an address, or claims to be from one, is dropped before
// it can be more.
func (s sets) guard() []rule {
	return []rule{
		join(s.enters(), toLoopback(), verdict(expr.VerdictDrop)),
		join(s.enters(), fromLoopback(), verdict(expr.VerdictDrop)),
	}
}

// prerouting: a port published on loopback is for the host alone, also where a neighbour sends a packet there.
func prerouting() []rule {
	return []rule{
		join(toLoopback(), verdict(expr.VerdictReturn)),
		join(toHost(), jump("wall")),
		join(toHost(), jump("publish")),
	}
}

func output() []rule { return []rule{join(toHost(), jump("publish"))} }

// forward: into a network come answers, neighbours, and what was sent to a published port. A closed network has no
// traffic with others at all, whatever was begun before it was one.
func (s sets) forward() []rule {
	return []rule{
		join(s.staysInside(), verdict(expr.VerdictAccept)),
		join(s.device(expr.MetaKeyIIFNAME, s.closed, false), reject()),
		join(s.device(expr.MetaKeyOIFNAME, s.closed, false), verdict(expr.VerdictDrop)),
		join(s.leaves(true), verdict(expr.VerdictAccept)),
		join(conntrack(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept)),
		join(conntrack(expr.CtKeySTATUS, ipsDstNAT), verdict(expr.VerdictAccept)),
		{&expr.Verdict{Kind: expr.VerdictDrop}},
	}
}

// postrouting: what leaves a network gets the host's address, and so does what reaches a container by a published
// port from where its answer would not come back the same way: from the host's loopback or from its own network.
func (s sets) postrouting() []rule {
	masquerade := []expr.Any{&expr.Masq{}}
	return []rule{
		join(s.leaves(false), fromLoopback(), masquerade),
		join(s.leaves(false), s.fromSubnets(), conntrack(expr.CtKeySTATUS, ipsDstNAT), masquerade),
		join(s.leaves(true), s.fromSubnets(), masquerade),
	}
}

// ipsDstNAT is the bit of a connection whose destination was translated, enum ip_conntrack_status.
const ipsDstNAT = 1 << 5

// enters matches packets that come in by one of the bridges.
func (s sets) enters() []expr.Any { return s.device(expr.MetaKeyIIFNAME, s.bridges, false) }

// leaves matches packets that go out by one of the bridges; not: that do not.
func (s sets) leaves(not bool) []expr.Any { return s.device(expr.MetaKeyOIFNAME, s.bridges, not) }

// device matches packets whose device, the one by which they came or by which they go, is in the set, or is not.
func (s sets) device(which expr.MetaKey, set *nftables.Set, not bool) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: which, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID, Invert: not},
	}
}

func (s sets) staysInside() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 2},
		&expr.Lookup{SourceRegister: 1, SetName: s.inside.Name, SetID: s.inside.ID},
	}
}

func (s sets) fromSubnets() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Lookup{SourceRegister: 1, SetName: s.subnets.Name, SetID: s.subnets.ID},
	}
}

func toLoopback() []expr.Any   { return loopback(16) }
func fromLoopback() []expr.Any { return loopback(12) }

// loopback matches the first byte of the address at offset.
func loopback(offset uint32) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{127}},
	}
}

// toHost matches packets to an address of the host.
func toHost() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)},
	}
}

// conntrack matches packets of connections that have one of the bits of the field named by what.
func conntrack(what expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: what, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, bits), Xor: []byte{0, 0, 0, 0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0, 0, 0, 0}},
	}
}

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

// reject tells the sender at once, so that nothing waits for an answer that will not come.
func reject() []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: icmpProhibited}}
}

// icmpProhibited is ICMP's code for "communication administratively prohibited".
const icmpProhibited = 13

func jump(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}

// ifname is a device's name as the kernel compares it.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}
