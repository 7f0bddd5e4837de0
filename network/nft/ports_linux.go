package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Publication is one published port, or several in a row: who connects to Host is connected to Target.
type Publication struct {
	// Proto is the protocol's number: 6 TCP, 17 UDP.
	Proto        uint8
	Host, Target netip.AddrPort
	// More is how many further ports follow that lead to the same address. Each leads to the port of its own number, so
	// Host and Target have the same one where More is not 0, unless they are relayed: there the ports of both follow. Where they are the same altogether the container is reached at its own
	// address, see Way; More is 0 then.
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
	err := t.replace(before, after)
	if err == nil && t.near != nil && len(before.Ports) > 0 {
		t.near.Check()
	}
	return err
}

func (t *Table) replace(before, after Published) error {
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
	err := t.remember(come)
	if err != nil {
		t.remember(gone)
		return fmt.Errorf("publish ports: %w", err)
	}
	// What was to go is missing, or what is to come is there, where somebody flushed or changed the table: written anew, it has
	// what it should.
	if t.hasIPv6() && !t.six {
		err = t.write()
	} else {
		err = t.heal(t.send(gone, come, limited))
	}
	if err != nil {
		t.forget(come)
		t.remember(gone)
		return fmt.Errorf("publish ports: %w", err)
	}
	return nil
}

// remember adds to what is remembered all of p, or nothing where one of its ports leads elsewhere.
func (t *Table) remember(p Published) error {
	for _, one := range p.Ports {
		if have, taken := t.ports[one.key()]; taken && have != one {
			return errdefs.ErrAlreadyExists.WithMessage(fmt.Sprintf("%s leads to %s", one.Host, have.Target))
		}
	}
	for _, one := range p.Ports {
		t.ports[one.key()] = one
	}
	for _, l := range p.Limits {
		t.limits[l] = true
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
	var free, shut []key
	now := t.limited()
	for k := range limited {
		if !now[k] {
			free = append(free, k)
		}
	}
	for k := range now {
		if !limited[k] {
			shut = append(shut, k)
		}
	}
	for _, s := range t.inUse() {
		add, remove := t.conn.SetAddElements, t.conn.SetDeleteElements
		err := errors.Join(
			t.each(s.opened, s.openings(gone.Ports), remove),
			t.eachPort(s, gone.Ports, false, remove),
			t.each(s.limited, s.keys(free), remove), t.each(s.sources, s.limits(gone.Limits), remove),
			t.each(s.limited, s.keys(shut), add), t.each(s.sources, s.limits(come.Limits), add),
			t.eachPort(s, come.Ports, true, add),
			t.each(s.opened, s.openings(come.Ports), add),
		)
		if err != nil {
			return err
		}
	}
	return t.flush()
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

// eachPort puts a change of the maps of ports into the batch; value is for where they lead, too.
func (t *Table) eachPort(s sets, ports []Publication, value bool, how func(*nftables.Set, []nftables.SetElement) error) error {
	var errs []error
	for _, l := range s.leading() {
		var mine []Publication
		for _, p := range ports {
			if s.has(p.Host) && p.Relayed() == l.relayed && !p.Opening() {
				mine = append(mine, p)
			}
		}
		errs = append(errs, t.each(l.ports, singles(mine, value), how), t.each(l.ranges, rows(mine, value), how))
	}
	return errors.Join(errs...)
}

// fillPorts puts into the batch all that is published.
func (t *Table) fillPorts() error {
	ports, limits, shut := slices.Collect(maps.Values(t.ports)), slices.Collect(maps.Keys(t.limits)), slices.Collect(maps.Keys(t.limited()))
	add := t.conn.SetAddElements
	var errs []error
	for _, s := range t.inUse() {
		errs = append(errs,
			t.each(s.limited, s.keys(shut), add), t.each(s.sources, s.limits(limits), add),
			t.eachPort(s, ports, true, add),
			t.each(s.allowed, s.admitting(t.allowed), add), t.each(s.opened, s.openings(ports), add),
		)
	}
	return errors.Join(errs...)
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
	var err error
	for _, s := range t.inUse() {
		t.conn.FlushSet(s.allowed)
		err = errors.Join(err, t.each(s.allowed, s.admitting(t.allowed), t.conn.SetAddElements))
	}
	if err == nil {
		err = t.flush()
	}
	if err = t.heal(err); err != nil {
		t.allowed = before
		return fmt.Errorf("set who may connect to published ports: %w", err)
	}
	return nil
}

// admitting are the ranges of the family as a set of single addresses has them, those that lie in others left out;
// everything where there are none of either family.
func (s sets) admitting(all []netip.Prefix) (out []nftables.SetElement) {
	ranges := s.family.of(all)
	if len(all) == 0 {
		every, _ := netip.AddrFromSlice(s.family.unspecified())
		ranges = []netip.Prefix{netip.PrefixFrom(every, 0)}
	}
	for i, p := range ranges {
		inner := slices.ContainsFunc(ranges[:i], func(o netip.Prefix) bool { return o == p.Masked() }) ||
			slices.ContainsFunc(ranges, func(o netip.Prefix) bool { return o.Bits() < p.Bits() && o.Contains(p.Addr()) })
		if !inner {
			out = append(out, interval(p, nil)...)
		}
	}
	return out
}

// has tells whether an address is of the family.
func (s sets) has(a netip.AddrPort) bool { return a.Addr().Is6() == s.family.six }

// element is the ports in the kernel's bytes, with the end of the row: every field begins at a multiple of four.
func (k key) element() nftables.SetElement {
	e := nftables.SetElement{Key: append([]byte{k.proto, 0, 0, 0}, addrPortBytes(k.host)...)}
	last := netip.AddrPortFrom(k.host.Addr(), k.host.Port()+k.more)
	e.KeyEnd = append([]byte{k.proto, 0, 0, 0}, addrPortBytes(last)...)
	return e
}

// keys are the elements of the set of ports that are limited; like all of these, those of the family alone.
func (s sets) keys(all []key) (out []nftables.SetElement) {
	for _, k := range all {
		if s.has(k.host) {
			out = append(out, k.element())
		}
	}
	return out
}

// singles are the elements of a map of ports, rows those of one of ranges.
func singles(ports []Publication, value bool) (out []nftables.SetElement) {
	for _, p := range ports {
		if p.More > 0 {
			continue
		}
		e := p.key().element()
		e.KeyEnd = nil
		if value {
			e.Val = addrPortBytes(p.Target)
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
		switch {
		case value && p.Relayed():
			e.Val = addrPortBytes(p.Target)
		case value:
			e.Val = p.Target.Addr().AsSlice()
		}
		out = append(out, e)
	}
	return out
}

func (s sets) limits(limits []Limit) (out []nftables.SetElement) {
	for _, l := range limits {
		if !s.has(l.Host) {
			continue
		}
		e := l.key().element()
		first, last := edges(l.Source)
		e.Key, e.KeyEnd = append(e.Key, first.AsSlice()...), append(e.KeyEnd, last.AsSlice()...)
		out = append(out, e)
	}
	return out
}

func addrPortBytes(a netip.AddrPort) []byte {
	return append(binary.BigEndian.AppendUint16(a.Addr().AsSlice(), a.Port()), 0, 0)
}

// addrPort reads what addrPortBytes wrote.
func (f family) addrPort(b []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(b[:f.length])
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[f.length:]))
}

// Agrees tells whether what the kernel has published is what was published: somebody may have changed it.
func (t *Table) Agrees() (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ports, limits, err := t.readPorts()
	return err == nil && maps.Equal(ports, t.ports) && maps.Equal(limits, t.limits), err
}

// addPortSets puts the sets and maps of published ports into the batch, empty.
func (s *sets) addPortSets(conn *nftables.Conn) {
	address := s.family.address
	host := nftables.MustConcatSetType(nftables.TypeInetProto, address, nftables.TypeInetService)
	from := nftables.MustConcatSetType(nftables.TypeInetProto, address, nftables.TypeInetService, address)
	lead := func(name string, ranges bool, to nftables.SetDatatype) *nftables.Set {
		return &nftables.Set{Table: s.table, Name: name, IsMap: true, Concatenation: true, Interval: ranges, KeyType: host, DataType: to}
	}
	one := func(of nftables.SetDatatype) nftables.SetDatatype {
		return nftables.MustConcatSetType(of, nftables.TypeInetService)
	}
	s.ports, s.ranges = lead(portsMap, false, one(address)), lead(rangesMap, true, address)
	if s.family.six {
		four := one(nftables.TypeIPAddr)
		s.relayed, s.relayedRanges = lead(relayedMap, false, four), lead(relayedRangesMap, true, four)
	}
	s.limited = &nftables.Set{Table: s.table, Name: "limited", Concatenation: true, Interval: true, KeyType: host}
	s.sources = &nftables.Set{Table: s.table, Name: sourcesSet, Concatenation: true, Interval: true, KeyType: from}
	s.allowed = &nftables.Set{Table: s.table, Name: "allowed", Interval: true, KeyType: address}
	s.linked = &nftables.Set{Table: s.table, Name: linkedSet, Concatenation: true,
		KeyType: nftables.MustConcatSetType(address, address, nftables.TypeInetProto, nftables.TypeInetService)}
	s.opened = &nftables.Set{Table: s.table, Name: openedSet, Concatenation: true, KeyType: host}
	for _, set := range append(s.maps(), s.limited, s.sources, s.allowed, s.opened, s.linked) {
		conn.AddSet(set, nil) // fails only on elements that cannot be encoded
	}
}

// dialled loads what was dialled into registers of four bytes: 8 protocol, 9 and on address, then the port; every stands for
// the address of ports that are published on all.
func (s sets) dialled(every bool) []expr.Any {
	address := s.family.load(s.family.target, 9)
	if every {
		address = &expr.Immediate{Register: 9, Data: s.family.unspecified()}
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 8},
		address,
		&expr.Payload{DestRegister: 9 + s.family.words(), Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	}
}

// leads looks up where a dialled port leads; the answer is from 8 on the address and, from the map of ports, then the port.
func leads(m *nftables.Set) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: 8, DestRegister: 8, IsDestRegSet: true, SetName: m.Name, SetID: m.ID}}
}

// publish looks a port up by the address that was dialled, then among those published on every address.
func (s sets) publish() []rule {
	one := []expr.Any{&expr.NAT{Type: expr.NATTypeDestNAT, Family: s.family.proto, RegAddrMin: 8, RegProtoMin: 8 + s.family.words()}}
	row := []expr.Any{&expr.NAT{Type: expr.NATTypeDestNAT, Family: s.family.proto, RegAddrMin: 8}}
	return append(s.nearby(), []rule{
		join(s.dialled(false), leads(s.ports), one),
		join(s.dialled(false), leads(s.ranges), row),
		join(s.dialled(true), leads(s.ports), one),
		join(s.dialled(true), leads(s.ranges), row),
	}...)
}

// wall drops what somebody who may not sends to a published port: where the port names who may, all others; and, of
// those from outside, whom the instance does not allow at all.
func (s sets) wall() []rule {
	in := func(set *nftables.Set, not bool) []expr.Any {
		return []expr.Any{&expr.Lookup{SourceRegister: 8, SetName: set.Name, SetID: set.ID, Invert: not}}
	}
	source := func(register uint32) []expr.Any {
		return []expr.Any{s.family.load(s.family.source, register)}
	}
	drop := verdict(expr.VerdictDrop)
	rules := []rule{
		join(s.dialled(false), in(s.limited, false), source(10+s.family.words()), in(s.sources, true), drop),
		join(s.dialled(true), in(s.limited, false), source(10+s.family.words()), in(s.sources, true), drop),
		join(source(8), in(s.allowed, false), verdict(expr.VerdictReturn)),
		join(s.enters(), verdict(expr.VerdictReturn)),
	}
	for _, every := range []bool{false, true} {
		for _, m := range s.maps() {
			rules = append(rules, join(s.dialled(every), leads(m), drop))
		}
	}
	return rules
}
