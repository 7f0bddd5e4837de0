package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
)

// Names of the sets that are read back.
const (
	portsMap         = "ports"
	rangesMap        = "ranges"
	relayedMap       = "relayed"
	relayedRangesMap = "relayed_ranges"
	sourcesSet       = "sources"
)

// readPorts reads what is published by the table that is in the kernel, if there is one.
func (t *Table) readPorts() (map[key]Publication, map[Limit]bool, error) {
	ports, limits := map[key]Publication{}, map[Limit]bool{}
	for _, f := range families() {
		table, err := t.conn.ListTableOfFamily(t.name, f.table)
		if err != nil {
			continue
		}
		for name, take := range f.readers(ports, limits) {
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
	}
	return ports, limits, nil
}

// readers read the elements of sets by the names of these.
func (f family) readers(ports map[key]Publication, limits map[Limit]bool) map[string]func(nftables.SetElement) {
	address := int(f.length)
	port := 4 + address // where it stands in a key
	row := func(e nftables.SetElement) (Publication, bool) {
		if len(e.Key) < port+2 || len(e.KeyEnd) < port+2 {
			return Publication{}, false
		}
		p := Publication{Proto: e.Key[0], Host: f.addrPort(e.Key[4:])}
		p.More = binary.BigEndian.Uint16(e.KeyEnd[port:]) - p.Host.Port()
		return p, true
	}
	// single reads a map that leads to addresses of a family.
	single := func(to family) func(nftables.SetElement) {
		return func(e nftables.SetElement) {
			if len(e.Key) >= port+2 && len(e.Val) >= int(to.length)+2 {
				p := Publication{Proto: e.Key[0], Host: f.addrPort(e.Key[4:]), Target: to.addrPort(e.Val)}
				ports[p.key()] = p
			}
		}
	}
	four := families()[0]
	return map[string]func(nftables.SetElement){
		portsMap: single(f), relayedMap: single(four),
		rangesMap: func(e nftables.SetElement) {
			if p, ok := row(e); ok && len(e.Val) >= address {
				to, _ := netip.AddrFromSlice(e.Val[:address])
				p.Target = netip.AddrPortFrom(to, p.Host.Port())
				ports[p.key()] = p
			}
		},
		relayedRangesMap: func(e nftables.SetElement) {
			if p, ok := row(e); ok && len(e.Val) >= int(four.length)+2 {
				p.Target = four.addrPort(e.Val)
				ports[p.key()] = p
			}
		},
		openedSet: func(e nftables.SetElement) {
			if len(e.Key) >= port+2 {
				at := f.addrPort(e.Key[4:])
				p := Publication{Proto: e.Key[0], Host: at, Target: at}
				ports[p.key()] = p
			}
		},
		sourcesSet: func(e nftables.SetElement) {
			p, ok := row(e)
			if !ok || len(e.Key) < port+4+address || len(e.KeyEnd) < port+4+address {
				return
			}
			first, _ := netip.AddrFromSlice(e.Key[port+4:][:address])
			last, _ := netip.AddrFromSlice(e.KeyEnd[port+4:][:address])
			limits[Limit{Proto: p.Proto, Host: p.Host, More: p.More, Source: between(first, last)}] = true
		},
	}
}
