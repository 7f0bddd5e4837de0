package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Publication is one published port, or several in a row: who connects to Host is connected to Target.
type Publication struct {
	// Proto is the protocol's number: 6 TCP, 17 UDP.
	Proto        uint8
	Host, Target netip.AddrPort
	// More is how many further ports follow that lead to the same address. Each leads to the port of its own number, so
	// Host and Target have the same one where More is not 0.
	More uint16
}

// Limit lets who comes from Source connect to published ports, and nobody else but the host itself; several limits of the
// same ports each let theirs.
type Limit struct {
	Proto  uint8
	Host   netip.AddrPort
	More   uint16
	Source netip.Prefix
}

// Published are ports and who may connect to them.
type Published struct {
	Ports  []Publication
	Limits []Limit
}

// key is what a publication is looked up by.
type key struct {
	proto uint8
	host  netip.AddrPort
	more  uint16
}

func (p Publication) key() key { return key{p.Proto, p.Host, p.More} }
func (l Limit) key() key       { return key{l.Proto, l.Host, l.More} }

// Publish makes ports reachable, all or none.
func (t *Table) Publish(p Published) error { return t.Replace(Published{}, p) }

// Withdraw ends the publication of ports. One that is not published is no error.
func (t *Table) Withdraw(p Published) error { return t.Replace(p, Published{}) }

// Replace ends the publication of ports and publishes others in the same moment, all or none. What is in both stays as
// it is.
func (t *Table) Replace(before, after Published) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	gone, come := before.Without(after), after.Without(before)
	gone.Ports = slices.DeleteFunc(gone.Ports, func(p Publication) bool { have, ok := t.ports[p.key()]; return !ok || have != p })
	gone.Limits = slices.DeleteFunc(gone.Limits, func(l Limit) bool { return !t.limits[l] })
	come.Ports = slices.DeleteFunc(come.Ports, func(p Publication) bool { have, ok := t.ports[p.key()]; return ok && have == p })
	come.Limits = slices.DeleteFunc(come.Limits, func(l Limit) bool { return t.limits[l] })
	if len(gone.Ports)+len(gone.Limits)+len(come.Ports)+len(come.Limits) == 0 {
		return nil
	}
	limited := t.limited()
	t.forget(gone)
	for _, l := range come.Limits {
		t.limits[l] = true
	}
	err := t.send(gone, come, limited)
	if err == nil || errors.Is(err, unix.ENOENT) {
		for _, p := range come.Ports {
			t.ports[p.key()] = p
		}
	}
	// What was to go is missing where somebody flushed or changed the table: written anew, it has what it should.
	if err = t.heal(err); err != nil {
		t.forget(come)
		for _, p := range gone.Ports {
			t.ports[p.key()] = p
		}
		for _, l := range gone.Limits {
			t.limits[l] = true
		}
		return fmt.Errorf("publish ports: %w", err)
	}
	return nil
}

// Without is what is in p and not in other, each once.
func (p Published) Without(other Published) Published {
	return Published{Ports: missing(p.Ports, other.Ports), Limits: missing(p.Limits, other.Limits)}
}

// Count is how many ports there are.
func (p Published) Count() (n int) {
	for _, one := range p.Ports {
		n += 1 + int(one.More)
	}
	return n
}

func missing[T comparable](a, b []T) []T {
	seen := make(map[T]bool, len(b))
	for _, v := range b {
		seen[v] = true
	}
	var out []T
	for _, v := range a {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// forget takes out of what is remembered what is as p says.
func (t *Table) forget(p Published) {
	for _, p := range p.Ports {
		if t.ports[p.key()] == p {
			delete(t.ports, p.key())
		}
	}
	for _, l := range p.Limits {
		delete(t.limits, l)
	}
}

// limited are the ports that only some may connect to.
func (t *Table) limited() map[key]bool {
	out := map[key]bool{}
	for l := range t.limits {
		out[l.key()] = true
	}
	return out
}

// send tells the kernel of a change; limited is what was limited before it. Nobody can connect who may not, and no port
// is taken twice, at any moment between.
func (t *Table) send(gone, come Published, limited map[key]bool) error {
	var free, shut []nftables.SetElement
	now := t.limited()
	for k := range limited {
		if !now[k] {
			free = append(free, k.element())
		}
	}
	for k := range now {
		if !limited[k] {
			shut = append(shut, k.element())
		}
	}
	s := t.sets
	err := errors.Join(
		t.each(s.ports, singles(gone.Ports, false), t.conn.SetDeleteElements), t.each(s.ranges, rows(gone.Ports, false), t.conn.SetDeleteElements),
		t.each(s.limited, free, t.conn.SetDeleteElements), t.each(s.sources, sources(gone.Limits), t.conn.SetDeleteElements),
		t.each(s.limited, shut, t.conn.SetAddElements), t.each(s.sources, sources(come.Limits), t.conn.SetAddElements),
		t.each(s.ports, singles(come.Ports, true), t.conn.SetAddElements), t.each(s.ranges, rows(come.Ports, true), t.conn.SetAddElements),
	)
	if err != nil {
		return err
	}
	return t.conn.Flush()
}

// portion is how many elements go into one message: the kernel's lists of them are 64 KiB long at most.
const portion = 400

// each puts a change of many elements into the batch, in as many messages as it takes.
func (t *Table) each(set *nftables.Set, elements []nftables.SetElement, how func(*nftables.Set, []nftables.SetElement) error) error {
	for some := range slices.Chunk(elements, portion) {
		if err := how(set, some); err != nil {
			return fmt.Errorf("change set %s: %w", set.Name, err)
		}
	}
	return nil
}

// fillPorts puts into the batch all that is published.
func (t *Table) fillPorts() error {
	ports := slices.Collect(maps.Values(t.ports))
	var shut []nftables.SetElement
	for k := range t.limited() {
		shut = append(shut, k.element())
	}
	add := t.conn.SetAddElements
	return errors.Join(
		t.each(t.sets.limited, shut, add), t.each(t.sets.sources, sources(slices.Collect(maps.Keys(t.limits))), add),
		t.each(t.sets.ports, singles(ports, true), add), t.each(t.sets.ranges, rows(ports, true), add),
		t.each(t.sets.allowed, intervals(t.allowed), add),
	)
}

// Published tells what is published.
func (t *Table) Published() Published {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Published{slices.Collect(maps.Values(t.ports)), slices.Collect(maps.Keys(t.limits))}
}

// Allow lets connect to published ports, from outside, only who comes from one of the ranges; none of them lets everybody.
func (t *Table) Allow(from []netip.Prefix) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.allowed
	t.allowed = slices.Clone(from)
	t.conn.FlushSet(t.sets.allowed)
	err := t.conn.SetAddElements(t.sets.allowed, intervals(t.allowed))
	if err == nil {
		err = t.conn.Flush()
	}
	if err = t.heal(err); err != nil {
		t.allowed = before
		return fmt.Errorf("set who may connect to published ports: %w", err)
	}
	return nil
}

// intervals are the ranges as a set of single addresses has them, those that lie in others left out; everything for none.
func intervals(ranges []netip.Prefix) []nftables.SetElement {
	if len(ranges) == 0 {
		ranges = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	}
	var out []nftables.SetElement
	for i, p := range ranges {
		inner := slices.ContainsFunc(ranges[:i], func(o netip.Prefix) bool { return o == p.Masked() }) ||
			slices.ContainsFunc(ranges, func(o netip.Prefix) bool { return o.Bits() < p.Bits() && o.Contains(p.Addr()) })
		if inner {
			continue
		}
		first, last := edges(p)
		out = append(out, nftables.SetElement{Key: first[:]})
		if end := binary.BigEndian.Uint32(last[:]) + 1; end != 0 { // one that ends with the addresses has no end
			out = append(out, nftables.SetElement{Key: binary.BigEndian.AppendUint32(nil, end), IntervalEnd: true})
		}
	}
	return out
}

// edges are the first and the last address of a range.
func edges(p netip.Prefix) (first, last [4]byte) {
	first = p.Masked().Addr().As4()
	binary.BigEndian.PutUint32(last[:], binary.BigEndian.Uint32(first[:])|uint32(1<<(32-p.Bits())-1))
	return first, last
}

// element is the ports in the kernel's bytes, with the end of the row: every field begins at a multiple of four.
func (k key) element() nftables.SetElement {
	e := nftables.SetElement{Key: make([]byte, 12)}
	e.Key[0] = k.proto
	putAddrPort(e.Key[4:], k.host)
	e.KeyEnd = bytes.Clone(e.Key)
	binary.BigEndian.PutUint16(e.KeyEnd[8:], k.host.Port()+k.more)
	return e
}

// singles are the elements of the map of ports, rows those of the map of ranges.
func singles(ports []Publication, value bool) (out []nftables.SetElement) {
	for _, p := range ports {
		if p.More > 0 {
			continue
		}
		e := p.key().element()
		e.KeyEnd = nil
		if value {
			e.Val = make([]byte, 8)
			putAddrPort(e.Val, p.Target)
		}
		out = append(out, e)
	}
	return out
}

func rows(ports []Publication, value bool) (out []nftables.SetElement) {
	for _, p := range ports {
		if p.More == 0 {
			continue
		}
		e := p.key().element()
		if value {
			e.Val = p.Target.Addr().AsSlice()
		}
		out = append(out, e)
	}
	return out
}

func sources(limits []Limit) (out []nftables.SetElement) {
	for _, l := range limits {
		e := l.key().element()
		first, last := edges(l.Source)
		e.Key, e.KeyEnd = append(e.Key, first[:]...), append(e.KeyEnd, last[:]...)
		out = append(out, e)
	}
	return out
}

func putAddrPort(b []byte, a netip.AddrPort) {
	ip := a.Addr().As4()
	copy(b, ip[:])
	b[4], b[5] = byte(a.Port()>>8), byte(a.Port())
}

func addrPort(b []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), uint16(b[4])<<8|uint16(b[5]))
}

// Agrees tells whether what the kernel has published is what was published: somebody may have changed it.
func (t *Table) Agrees() (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ports, limits, err := t.readPorts()
	return err == nil && maps.Equal(ports, t.ports) && maps.Equal(limits, t.limits), err
}

// readPorts reads what is published by the table that is in the kernel, if there is one.
func (t *Table) readPorts() (map[key]Publication, map[Limit]bool, error) {
	ports, limits := map[key]Publication{}, map[Limit]bool{}
	table, err := t.conn.ListTableOfFamily(t.name, nftables.TableFamilyIPv4)
	if err != nil {
		return ports, limits, nil
	}
	for name, take := range map[string]func(nftables.SetElement){
		portsMap: func(e nftables.SetElement) {
			if len(e.Key) >= 10 && len(e.Val) >= 6 {
				p := Publication{Proto: e.Key[0], Host: addrPort(e.Key[4:]), Target: addrPort(e.Val)}
				ports[p.key()] = p
			}
		},
		rangesMap: func(e nftables.SetElement) {
			if len(e.Key) >= 10 && len(e.KeyEnd) >= 10 && len(e.Val) >= 4 {
				p := Publication{Proto: e.Key[0], Host: addrPort(e.Key[4:])}
				p.Target = netip.AddrPortFrom(netip.AddrFrom4([4]byte(e.Val)), p.Host.Port())
				p.More = binary.BigEndian.Uint16(e.KeyEnd[8:]) - p.Host.Port()
				ports[p.key()] = p
			}
		},
		sourcesSet: func(e nftables.SetElement) {
			if len(e.Key) >= 16 && len(e.KeyEnd) >= 16 {
				l := Limit{Proto: e.Key[0], Host: addrPort(e.Key[4:]), More: binary.BigEndian.Uint16(e.KeyEnd[8:]) - binary.BigEndian.Uint16(e.Key[8:])}
				first, last := binary.BigEndian.Uint32(e.Key[12:]), binary.BigEndian.Uint32(e.KeyEnd[12:])
				bits := 32
				for n := last - first; n > 0; n >>= 1 {
					bits--
				}
				l.Source = netip.PrefixFrom(netip.AddrFrom4([4]byte(e.Key[12:])), bits)
				limits[l] = true
			}
		},
	} {
		set, err := t.conn.GetSetByName(table, name)
		if err != nil {
			continue // of an earlier engine that knew no such set
		}
		elements, err := t.conn.GetSetElements(set)
		if err != nil {
			return nil, nil, fmt.Errorf("read set %s of table %s: %w", name, t.name, err)
		}
		for _, e := range elements {
			take(e)
		}
	}
	return ports, limits, nil
}

// Names of the sets that are read back.
const (
	portsMap   = "ports"
	rangesMap  = "ranges"
	sourcesSet = "sources"
)

// addPortSets puts the sets and maps of published ports into the batch, empty.
func (s *sets) addPortSets(conn *nftables.Conn) {
	host := nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeIPAddr, nftables.TypeInetService)
	from := nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeIPAddr, nftables.TypeInetService, nftables.TypeIPAddr)
	s.ports = &nftables.Set{Table: s.table, Name: portsMap, IsMap: true, Concatenation: true, KeyType: host,
		DataType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)}
	s.ranges = &nftables.Set{Table: s.table, Name: rangesMap, IsMap: true, Concatenation: true, Interval: true, KeyType: host, DataType: nftables.TypeIPAddr}
	s.limited = &nftables.Set{Table: s.table, Name: "limited", Concatenation: true, Interval: true, KeyType: host}
	s.sources = &nftables.Set{Table: s.table, Name: sourcesSet, Concatenation: true, Interval: true, KeyType: from}
	s.allowed = &nftables.Set{Table: s.table, Name: "allowed", Interval: true, KeyType: nftables.TypeIPAddr}
	for _, set := range []*nftables.Set{s.ports, s.ranges, s.limited, s.sources, s.allowed} {
		conn.AddSet(set, nil) // fails only on elements that cannot be encoded
	}
}

// dialled loads what was dialled into registers of four bytes: 8 protocol, 9 address, 10 port; every stands for the
// address of ports that are published on all.
func dialled(every bool) []expr.Any {
	var address expr.Any = &expr.Payload{DestRegister: 9, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}
	if every {
		address = &expr.Immediate{Register: 9, Data: []byte{0, 0, 0, 0}}
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 8},
		address,
		&expr.Payload{DestRegister: 10, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	}
}

// leads looks up where a dialled port leads; the answer is in 8 the address and, from the map of ports, in 9 the port.
func leads(m *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: 8, DestRegister: 8, IsDestRegSet: true, SetName: m.Name, SetID: m.ID}}
}

// publish looks a port up by the address that was dialled, then among those published on every address.
func (s sets) publish() []rule {
	one := []expr.Any{&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 8, RegProtoMin: 9}}
	row := []expr.Any{&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 8}}
	return []rule{
		join(dialled(false), leads(s.ports), one),
		join(dialled(false), leads(s.ranges), row),
		join(dialled(true), leads(s.ports), one),
		join(dialled(true), leads(s.ranges), row),
	}
}

// wall drops what somebody who may not sends to a published port: where the port names who may, all others; and, of
// those from outside, whom the instance does not allow at all.
func (s sets) wall() []rule {
	in := func(set *nftables.Set, not bool) []expr.Any {
		return []expr.Any{&expr.Lookup{SourceRegister: 8, SetName: set.Name, SetID: set.ID, Invert: not}}
	}
	source := func(register uint32) []expr.Any {
		return []expr.Any{&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}}
	}
	drop := verdict(expr.VerdictDrop)
	return []rule{
		join(dialled(false), in(s.limited, false), source(11), in(s.sources, true), drop),
		join(dialled(true), in(s.limited, false), source(11), in(s.sources, true), drop),
		join(source(8), in(s.allowed, false), verdict(expr.VerdictReturn)),
		join(s.enters(), verdict(expr.VerdictReturn)),
		join(dialled(false), leads(s.ports), drop),
		join(dialled(false), leads(s.ranges), drop),
		join(dialled(true), leads(s.ports), drop),
		join(dialled(true), leads(s.ranges), drop),
	}
}
