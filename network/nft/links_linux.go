package nft

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Peer is an end of a link.
type Peer struct {
	Device  string // on the host
	MAC     [6]byte
	Address netip.Addr
}

// Link lets one container send to another's port although both are kept apart from the rest, and that one answer.
type Link struct {
	From, To Peer
	Proto    uint8
	Port     uint16
}

// links are the sets of the bridge's table by which those that are linked talk. What is bridged and looked at by the families of
// addresses as well (bridge-nf-call-iptables) is let through there by the set linked.
type links struct{ kin, lets, back *nftables.Set }

const linkedSet = "linked"

// add makes the sets, for the batch.
func (l *links) add(conn *nftables.Conn, table *nftables.Table) {
	device := []nftables.SetDatatype{nftables.TypeIFName, nftables.TypeEtherAddr}
	set := func(name string, more ...nftables.SetDatatype) *nftables.Set {
		s := &nftables.Set{Table: table, Name: name, Concatenation: true, KeyByteOrder: binaryutil.NativeEndian,
			KeyType: nftables.MustConcatSetType(append(device[:2:2], more...)...)}
		conn.AddSet(s, nil)
		return s
	}
	l.kin = set("kin")
	l.lets = set("lets", nftables.TypeInetProto, nftables.TypeInetService)
	l.back = set("back", nftables.TypeInetProto, nftables.TypeInetService)
}

// pass lets through what the linked send to one another: who has which address, and what is to the port, or from it.
func (l *links) pass() []rule {
	back := verdict(expr.VerdictReturn)
	to := func(set *nftables.Set, more ...expr.Any) []expr.Any {
		head := []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 8},
			&expr.Payload{DestRegister: 12, Base: expr.PayloadBaseLLHeader, Offset: 0, Len: 6},
		}
		return append(append(head, more...), &expr.Lookup{SourceRegister: 8, SetName: set.Name, SetID: set.ID})
	}
	port := func(offset uint32) []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 14},
			&expr.Payload{DestRegister: 15, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		}
	}
	return []rule{
		join(ether(unix.ETH_P_ARP), to(l.kin), back),
		join(ether(unix.ETH_P_IPV6), neighbours(solicitation), to(l.kin), back),
		join(ether(unix.ETH_P_IPV6), neighbours(advertisement), to(l.kin), back),
		join(to(l.lets, port(2)...), back),
		join(to(l.back, port(0)...), back),
	}
}

// elements are what the sets hold of a link.
func (l *links) elements(one Link) map[*nftables.Set][]nftables.SetElement {
	between := func(from, to Peer) []byte { return append(append(ifname(from.Device), to.MAC[:]...), 0, 0) }
	port := binary.BigEndian.AppendUint16([]byte{one.Proto, 0, 0, 0}, one.Port)
	port = append(port, 0, 0)
	there, back := between(one.From, one.To), between(one.To, one.From)
	return map[*nftables.Set][]nftables.SetElement{
		l.kin:  {{Key: there}, {Key: back}},
		l.lets: {{Key: append(there[:len(there):len(there)], port...)}},
		l.back: {{Key: append(back[:len(back):len(back)], port...)}},
	}
}

// linkedTo is the key of a link in the set of a family.
func linkedTo(one Link) []nftables.SetElement {
	key := append(one.From.Address.AsSlice(), one.To.Address.AsSlice()...)
	key = append(key, one.Proto, 0, 0, 0)
	return []nftables.SetElement{{Key: append(binary.BigEndian.AppendUint16(key, one.Port), 0, 0)}}
}

// linkedPackets matches packets of links.
func (s sets) linkedPackets() []expr.Any {
	next := 8 + 2*s.family.words()
	return []expr.Any{
		s.family.load(s.family.source, 8),
		s.family.load(s.family.target, 8+s.family.words()),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: next},
		&expr.Payload{DestRegister: next + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: 8, SetName: s.linked.Name, SetID: s.linked.ID},
	}
}

// Link sets who is linked: these, and nobody else.
func (t *Table) Link(all map[Link]bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if maps.Equal(t.linked, all) {
		return nil
	}
	before := t.linked
	t.linked = maps.Clone(all)
	if err := t.write(); err != nil {
		t.linked = before
		return fmt.Errorf("link containers: %w", err)
	}
	return nil
}

// fillLinks puts all links into the batch. Several of the same containers have elements in common, which the kernel takes once.
func (t *Table) fillLinks() error {
	filled := map[string]bool{}
	add := func(set *nftables.Set, elements []nftables.SetElement) error {
		for _, e := range elements {
			if key := set.Name + string(e.Key); !filled[key] {
				filled[key] = true
				if err := t.conn.SetAddElements(set, []nftables.SetElement{e}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for one := range t.linked {
		for set, elements := range t.links.elements(one) {
			if err := add(set, elements); err != nil {
				return err
			}
		}
		for _, s := range t.inUse() {
			if s.family.six == one.To.Address.Is6() {
				if err := add(s.linked, linkedTo(one)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// PeerOf is the member as an end of a link, by one of its addresses.
func PeerOf(device string, mac net.HardwareAddr, address netip.Addr) Peer {
	p := Peer{Device: device, Address: address}
	copy(p.MAC[:], mac)
	return p
}
