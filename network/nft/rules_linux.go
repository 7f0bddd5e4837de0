package nft

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// build puts into the batch: the old table of a family away, the new one with its sets and rules; near is the port of the socket for what the
// kernel does not pass on, or 0.
func (t *Table) build(f family, near uint16) sets {
	conn, table := t.conn, &nftables.Table{Name: t.name, Family: f.table}
	// Deleting what is not there would fail the batch: added first, it is always there.
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	s := addSets(conn, f, table, t.bridges)
	s.direct, s.marked, s.near = t.direct, t.marked, near
	publish := conn.AddChain(&nftables.Chain{Name: "publish", Table: table})
	wall := conn.AddChain(&nftables.Chain{Name: "wall", Table: table})
	opened := conn.AddChain(&nftables.Chain{Name: "opened", Table: table})
	dial := conn.AddChain(&nftables.Chain{Name: "dialled", Table: table})
	base := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{Name: name, Table: table, Type: kind, Hooknum: hook, Priority: &priority})
	}
	type filled struct {
		chain *nftables.Chain
		rules []rule
	}
	chains := []filled{
		{base("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw), s.guard()},
		{base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest), s.prerouting()},
		{base("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, *nftables.ChainPriorityNATDest), output()},
		{base("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, *nftables.ChainPriorityFilter), s.forward()},
		{base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource), s.postrouting()},
		{publish, s.publish()},
		{wall, s.wall()},
		{opened, s.reach()},
		{dial, dialled()},
	}
	if f.six {
		chains = append(chains,
			filled{base("leave", nftables.ChainTypeRoute, nftables.ChainHookOutput, *nftables.ChainPriorityRaw), s.leave()},
			filled{base("arrive", nftables.ChainTypeFilter, nftables.ChainHookInput, *nftables.ChainPriorityNATSource+1), s.arrive()})
	}
	for _, c := range chains {
		for _, r := range c.rules {
			conn.AddRule(&nftables.Rule{Table: table, Chain: c.chain, Exprs: r})
		}
	}
	return s
}

func addSets(conn *nftables.Conn, f family, table *nftables.Table, bridges []Bridge) sets {
	s := sets{
		family:  f,
		table:   table,
		bridges: &nftables.Set{Table: table, Name: "bridges", KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian},
		closed:  &nftables.Set{Table: table, Name: "closed", KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian},
		inside: &nftables.Set{Table: table, Name: "inside", Concatenation: true,
			KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIFName)},
		subnets: &nftables.Set{Table: table, Name: "subnets", Interval: true, KeyType: f.address},
		hidden:  &nftables.Set{Table: table, Name: "hidden", Interval: true, KeyType: f.address},
	}
	every := append([]*nftables.Set{s.bridges, s.closed, s.inside, s.subnets, s.hidden}, s.addWaySets(table)...)
	if f.six {
		s.hosts = &nftables.Set{Table: table, Name: "hosts", Interval: true, IsMap: true, KeyType: f.address, DataType: f.address}
		every = append(every, s.hosts)
	}
	all := map[*nftables.Set][]nftables.SetElement{}
	for _, b := range bridges {
		for set, elements := range s.of(b) {
			all[set] = append(all[set], elements...)
		}
	}
	// Adding a set fails only on elements that cannot be encoded; these can.
	for _, set := range every {
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
	if b.Closed {
		return out
	}
	s.ofWay(b, out)
	for _, host := range s.family.of(b.Hosts) {
		out[s.subnets] = append(out[s.subnets], interval(host, nil)...)
		if s.hosts != nil {
			out[s.hosts] = append(out[s.hosts], interval(host, host.Addr().AsSlice())...)
		}
		switch way := b.way(s.family); {
		case way.Routed || !b.Masquerade:
		case way.Source.IsValid():
			out[s.named] = append(out[s.named], interval(host, way.Source.AsSlice())...)
		default:
			out[s.hidden] = append(out[s.hidden], interval(host, nil)...)
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
// it can be more. IPv6 lets nothing of the kind through by itself, but may be looked at on the bridge before it is dropped.
func (s sets) guard() []rule {
	return []rule{
		join(s.toLoopback(), s.enters(), verdict(expr.VerdictDrop)), // the address first: it is every packet's, and cheaper to look at
		join(s.fromLoopback(), s.enters(), verdict(expr.VerdictDrop)),
	}
}

// prerouting: a port published on loopback is for the host alone, also where a neighbour sends a packet there.
func (s sets) prerouting() []rule {
	return []rule{
		join(s.toLoopback(), verdict(expr.VerdictReturn)),
		join(toHost(), jump("dialled")),
	}
}

// dialled: who dials an address of the host is led on, if they may be.
func dialled() []rule { return []rule{jump("wall"), jump("publish")} }

func output() []rule { return []rule{join(toHost(), jump("publish"))} }

// forward: into a network come answers, neighbours, what was sent to a published port, and what the network's way lets in. A closed network has no
// traffic with others at all, whatever was begun before it was one.
func (s sets) forward() []rule {
	rules := []rule{
		join(s.staysInside(), verdict(expr.VerdictAccept)),
		join(s.device(expr.MetaKeyIIFNAME, s.closed, false), s.reject()),
		join(s.device(expr.MetaKeyOIFNAME, s.closed, false), verdict(expr.VerdictDrop)),
		join(s.leaves(true), verdict(expr.VerdictAccept)),
	}
	if s.marked.Mask != 0 {
		rules = append(rules, join(s.marked.has(), verdict(expr.VerdictAccept)))
	}
	rules = append(rules,
		join(conntrack(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept)),
		join(conntrack(expr.CtKeySTATUS, ipsDstNAT), verdict(expr.VerdictAccept)),
		join(s.linkedPackets(), verdict(expr.VerdictAccept)),
	)
	if s.family.six { // no router passes these on: they are between ports of a bridge, where the kernel has them looked at here, too
		rules = append(rules, join(neighbours(solicitation), verdict(expr.VerdictAccept)), join(neighbours(advertisement), verdict(expr.VerdictAccept)))
	}
	return append(append(rules, s.straight()...), verdict(expr.VerdictDrop))
}

// postrouting: what leaves a network that is hidden gets the host's address, and so does, of each network, what reaches a
// container by a published port from where its answer would not come back the same way: from the host's loopback or from
// a container.
func (s sets) postrouting() []rule {
	masquerade := []expr.Any{&expr.Masq{}}
	return []rule{
		join(s.leaves(false), s.fromLoopback(), masquerade),
		join(s.leaves(false), s.from(s.subnets), conntrack(expr.CtKeySTATUS, ipsDstNAT), masquerade),
		join(s.leaves(true), s.from(s.hidden), masquerade),
		join(s.leaves(true), s.rename()),
	}
}

// leave and arrive let the host reach published ports by ::1. IPv6 has nothing like route_localnet: whatever came back
// to ::1 from a bridge would be dropped before anything could be translated. So packets take the address that the host has
// on the container's network before the kernel begins to remember the connection, and answers get ::1 back after it has
// done its part. No packet with ::1 is ever on a bridge. What is relayed stays with the host, and stays as it is.
//
// What is found in one map goes by the packet to the next: where a rule looks up what it has just found, nft 1.0 (Debian 12) ends when it is
// to list anything at all.
func (s sets) leave() []rule {
	var rules []rule
	write := s.family.rewrite(s.family.source, 8)
	for _, every := range []bool{false, true} {
		for _, m := range []*nftables.Set{s.relayed, s.relayedRanges} {
			rules = append(rules, join(s.toLoopback(), s.dialled(every), leads(m), verdict(expr.VerdictAccept)))
		}
	}
	for _, every := range []bool{false, true} {
		for _, m := range []*nftables.Set{s.ports, s.ranges} {
			rules = append(rules, join(s.toLoopback(), s.dialled(every), leads(m), write))
		}
	}
	return append(rules, join(s.toLoopback(), []expr.Any{s.family.load(s.family.source, 8)}, leads(s.hosts), write))
}

func (s sets) arrive() []rule {
	return []rule{join(s.enters(), s.fromLoopback(),
		[]expr.Any{&expr.Immediate{Register: 8, Data: s.family.loopback}}, s.family.rewrite(s.family.target, 8))}
}

// ipsDstNAT is the bit of a connection whose destination was translated, enum ip_conntrack_status.
const ipsDstNAT = 1 << 5

// has matches packets with the mark.
func (m Mark) has() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, m.Mask), Xor: []byte{0, 0, 0, 0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, m.Value&m.Mask)},
	}
}

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

// from matches packets whose sender is in the set.
func (s sets) from(set *nftables.Set) []expr.Any {
	return []expr.Any{
		s.family.load(s.family.source, 8),
		&expr.Lookup{SourceRegister: 8, SetName: set.Name, SetID: set.ID},
	}
}

func (s sets) toLoopback() []expr.Any   { return s.family.isLoopback(s.family.target) }
func (s sets) fromLoopback() []expr.Any { return s.family.isLoopback(s.family.source) }

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
func (s sets) reject() []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: s.family.prohibited}}
}

func jump(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}

// ifname is a device's name as the kernel compares it.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}
