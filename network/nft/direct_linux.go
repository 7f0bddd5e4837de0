package nft

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Way is how a network leads out in one family, and in. The zero value hides its containers behind the host.
type Way struct {
	// Routed gives containers their own addresses everywhere; at these, what they publish is reached.
	Routed bool
	// Open lets who is not in a network of the instance reach all their ports.
	Open bool
	// Source is the address that their packets leave under, the zero value for that of the device they leave by.
	Source netip.Addr
}

// way is that of the family.
func (b Bridge) way(f family) Way {
	if f.six {
		return b.Six
	}
	return b.Four
}

// Opening tells whether the publication is of a port that is reached at the container's own address: where it is led to is what
// was dialled.
func (p Publication) Opening() bool { return p.Host == p.Target }

// openedSet is the name of the set of such ports.
const openedSet = "opened"

// addWaySets makes the sets of ways, for the batch.
func (s *sets) addWaySets(table *nftables.Table) []*nftables.Set {
	devices := func(name string) *nftables.Set {
		return &nftables.Set{Table: table, Name: name, KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian}
	}
	s.routed, s.open = devices("routed"), devices("open")
	s.trusted = &nftables.Set{Table: table, Name: "trusted", Concatenation: true, KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIFName)}
	s.named = &nftables.Set{Table: table, Name: "named", Interval: true, IsMap: true, KeyType: s.family.address, DataType: s.family.address}
	return []*nftables.Set{s.routed, s.open, s.trusted, s.named}
}

// ofWay adds what the sets of ways hold for one network that is not closed.
func (s sets) ofWay(b Bridge, out map[*nftables.Set][]nftables.SetElement) {
	if len(s.family.of(b.Hosts)) == 0 {
		return
	}
	name, way := ifname(b.Name), b.way(s.family)
	if way.Routed {
		out[s.routed] = []nftables.SetElement{{Key: name}}
	}
	if way.Open {
		out[s.open] = []nftables.SetElement{{Key: name}}
	}
	for _, device := range b.Trusted {
		out[s.trusted] = append(out[s.trusted], nftables.SetElement{Key: append(ifname(device), name...)})
	}
}

// openings are the elements of the set of ports that are reached at the container's own address.
func (s sets) openings(ports []Publication) (out []nftables.SetElement) {
	for _, p := range ports {
		if p.Opening() && s.has(p.Host) {
			e := p.key().element()
			e.KeyEnd = nil
			out = append(out, e)
		}
	}
	return out
}

// straight lets in what is sent to containers' own addresses where the network's way is such: what is published, if who sends it
// may; where they are routed also ICMP, which tells of routes; where they are open everything that comes from outside.
func (s sets) straight() []rule {
	in := func(set *nftables.Set) []expr.Any { return s.device(expr.MetaKeyOIFNAME, set, false) }
	outside := s.device(expr.MetaKeyIIFNAME, s.bridges, true)
	published := append(s.dialled(false), &expr.Lookup{SourceRegister: 8, SetName: s.opened.Name, SetID: s.opened.ID})
	trusted := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 2},
		&expr.Lookup{SourceRegister: 1, SetName: s.trusted.Name, SetID: s.trusted.ID},
	}
	icmp := byte(unix.IPPROTO_ICMP)
	if s.family.six {
		icmp = unix.IPPROTO_ICMPV6
	}
	isICMP := []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{icmp}}}
	accept := verdict(expr.VerdictAccept)
	rules := []rule{
		join(in(s.routed), isICMP, accept),
		join(in(s.routed), published, jump("opened")),
		join(trusted, published, jump("opened")),
		join(outside, in(s.open), published, jump("opened")),
		join(outside, in(s.open), accept),
	}
	if s.direct {
		rules = append(rules, join(outside, published, jump("opened")))
	}
	return rules
}

// reach decides as the wall does, by the container's own address.
func (s sets) reach() []rule {
	in := func(set *nftables.Set, not bool) []expr.Any {
		return []expr.Any{&expr.Lookup{SourceRegister: 8, SetName: set.Name, SetID: set.ID, Invert: not}}
	}
	source := func(register uint32) []expr.Any { return []expr.Any{s.family.load(s.family.source, register)} }
	accept, drop := verdict(expr.VerdictAccept), verdict(expr.VerdictDrop)
	return []rule{
		join(s.dialled(false), in(s.limited, false), source(10+s.family.words()), in(s.sources, true), drop),
		join(source(8), in(s.allowed, false), accept),
		join(s.enters(), accept),
		drop,
	}
}

// rename gives packets the address that their network is to be seen as.
func (s sets) rename() []expr.Any {
	load := s.family.load(s.family.source, 8)
	return append(append([]expr.Any{load}, leads(s.named)...),
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: s.family.proto, RegAddrMin: 8})
}
