package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Member is an endpoint's device on a bridge and who it is.
type Member struct {
	Device string // on the host
	MAC    net.HardwareAddr
	// Addresses are all that it may send as, of both families.
	Addresses []netip.Addr
	// Routes lets it send, under its own hardware address, what is from others: it routes for them.
	Routes bool
	// Gate is the only hardware address that it may send to, the host's; nil for all.
	Gate net.HardwareAddr
}

// membersSets are the names of the sets of members, by family, of those that route, and of those that talk to the host alone.
var membersSets = [5]string{"members", "members6", "routers", "gates", "apart"}

// members are the sets of these names.
type members [5]*nftables.Set

// The places of sets that are of no family.
const (
	routers = 2
	gates   = 3
	apart   = 4
)

// elements are the member in the kernel's bytes, by set.
func (m Member) elements() (out [5][]nftables.SetElement) {
	if m.Gate != nil {
		out[apart] = []nftables.SetElement{{Key: ifname(m.Device)}}
		out[gates] = []nftables.SetElement{{Key: append(append(ifname(m.Device), m.Gate...), 0, 0)}}
	}
	head := append(append(ifname(m.Device), m.MAC...), 0, 0)
	for _, a := range m.Addresses {
		key := append(bytes.Clone(head), a.AsSlice()...)
		out[familyOf(a)] = append(out[familyOf(a)], nftables.SetElement{Key: key})
	}
	if m.Routes {
		out[routers] = []nftables.SetElement{{Key: head}}
	}
	return out
}

// same tells whether two members may send as the same.
func (m Member) same(o Member) bool {
	return bytes.Equal(m.MAC, o.MAC) && bytes.Equal(m.Gate, o.Gate) && m.Routes == o.Routes && len(m.Addresses) == len(o.Addresses) &&
		!slices.ContainsFunc(m.Addresses, func(a netip.Addr) bool { return !slices.Contains(o.Addresses, a) })
}

// memberOf reads an element of one of the sets but the last, which tells nothing that the one before does not.
func memberOf(set int, e nftables.SetElement) (Member, bool) {
	const head = unix.IFNAMSIZ + 8
	if len(e.Key) < head {
		return Member{}, false
	}
	name, _, _ := bytes.Cut(e.Key[:unix.IFNAMSIZ], []byte{0})
	m, address := Member{Device: string(name)}, net.HardwareAddr(bytes.Clone(e.Key[unix.IFNAMSIZ:][:6]))
	switch set {
	case gates:
		m.Gate = address
	case routers:
		m.MAC, m.Routes = address, true
	default:
		m.MAC = address
		if a, ok := netip.AddrFromSlice(e.Key[head:]); ok {
			m.Addresses = []netip.Addr{a}
		}
	}
	return m, true
}

// with is what is known by two elements together; the zero value knows nothing.
func (m Member) with(o Member) Member {
	m.Device, m.Addresses, m.Routes = o.Device, append(m.Addresses, o.Addresses...), m.Routes || o.Routes
	if o.MAC != nil {
		m.MAC = o.MAC
	}
	if o.Gate != nil {
		m.Gate = o.Gate
	}
	return m
}

// buildBorder puts the table of the bridge family into the batch: what comes from a container's device must have its
// hardware address and one of its addresses, as sender of packets and in answers to who has an address. All else from there
// is dropped, so that no container can pass for another or for the host, nor tell others where their router is. It returns
// the sets of members, empty. Only where gated is who has a gate looked for: it costs every packet of all the others.
func buildBorder(conn *nftables.Conn, name, prefix string, gated bool, l *links) members {
	table := &nftables.Table{Name: name, Family: nftables.TableFamilyBridge}
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	var sets members
	for i, address := range []nftables.SetDatatype{nftables.TypeIPAddr, nftables.TypeIP6Addr} {
		sets[i] = &nftables.Set{
			Table: table, Name: membersSets[i], Concatenation: true, KeyByteOrder: binaryutil.NativeEndian,
			KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr, address),
		}
		conn.AddSet(sets[i], nil)
	}
	sets[routers] = &nftables.Set{
		Table: table, Name: membersSets[routers], Concatenation: true, KeyByteOrder: binaryutil.NativeEndian,
		KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr),
	}
	conn.AddSet(sets[routers], nil)
	sets.addGates(conn, table, l)
	chain := conn.AddChain(&nftables.Chain{
		Name: "border", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	})
	foreign := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte(prefix)},
	}
	rules := []rule{join(foreign, verdict(expr.VerdictAccept))}
	if gated {
		rules = append(rules, sets.beside())
	}
	rules = append(append(rules, sets.border4()...), sets.border6()...)
	for _, r := range append(rules, verdict(expr.VerdictDrop)) {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: r})
	}
	return sets
}

// ether matches the kind of a frame.
func ether(kind uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 12, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, kind)},
	}
}

// sender is the hardware address that a frame says it is from.
func sender() *expr.Payload { return &expr.Payload{Base: expr.PayloadBaseLLHeader, Offset: 6} }

// are matches frames whose device, hardware address and address, these two at the places given, are a member's; not: are none's.
func (m members) are(family int, mac, address *expr.Payload, not bool) []expr.Any {
	// Registers of four bytes: 8 to 11 the device, 12 and 13 the hardware address, 14 and on the address.
	mac.DestRegister, mac.Len, address.DestRegister, address.Len = 12, 6, 14, [2]uint32{4, 16}[family]
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 8}, mac, address,
		&expr.Lookup{SourceRegister: 8, SetName: m[family].Name, SetID: m[family].ID, Invert: not},
	}
}

// route matches frames from the device and the hardware address of a member that routes.
func (m members) route() []expr.Any {
	mac := sender()
	mac.DestRegister, mac.Len = 12, 6
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 8}, mac,
		&expr.Lookup{SourceRegister: 8, SetName: m[routers].Name, SetID: m[routers].ID},
	}
}

func (m members) border4() []rule {
	at := func(offset uint32) *expr.Payload {
		return &expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: offset}
	}
	accept := verdict(expr.VerdictAccept)
	return []rule{
		join(ether(unix.ETH_P_IP), m.are(0, sender(), at(12), false), accept),
		join(ether(unix.ETH_P_IP), m.route(), accept),
		join(ether(unix.ETH_P_ARP), m.are(0, sender(), at(14), false), m.are(0, at(8), at(14), false), accept),
	}
}

// border6: who has an address is said, and asked, by messages that are IPv6 packets themselves.
func (m members) border6() []rule {
	message := func(kind byte) []expr.Any {
		return join(ether(unix.ETH_P_IPV6), []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind}},
		})
	}
	const routerAdvertisement, neighbourAdvertisement, redirect = 134, 136, 137
	source := &expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 8}
	target := &expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 8}
	drop := verdict(expr.VerdictDrop)
	return []rule{
		join(message(routerAdvertisement), drop),
		join(message(redirect), drop),
		join(message(neighbourAdvertisement), m.are(1, sender(), target, true), drop),
		join(ether(unix.ETH_P_IPV6), m.are(1, sender(), source, false), verdict(expr.VerdictAccept)),
		join(ether(unix.ETH_P_IPV6), m.route(), verdict(expr.VerdictAccept)),
	}
}

// admittedElements are those of all members, by set.
func (t *Table) admittedElements() (all [5][]nftables.SetElement) {
	for _, m := range t.admitted {
		for family, elements := range m.elements() {
			all[family] = append(all[family], elements...)
		}
	}
	return all
}

// Admit lets a device send as who it is; what it was before, it is no more.
func (t *Table) Admit(m Member) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now, known := t.admitted[m.Device]; known && now.same(m) {
		return nil
	}
	if err := t.expel(m.Device); err != nil {
		return err
	}
	t.admitted[m.Device] = m
	var err error
	if m.Gate != nil && !t.gated {
		err = t.write()
	} else if err = t.members.change(m, t.conn.SetAddElements); err == nil {
		err = t.flush()
	}
	if err = t.heal(err); err != nil {
		delete(t.admitted, m.Device)
		return fmt.Errorf("admit device %s: %w", m.Device, err)
	}
	return nil
}

// change puts the elements of a member into the sets, or takes them out.
func (m members) change(one Member, how func(*nftables.Set, []nftables.SetElement) error) error {
	for i, elements := range one.elements() {
		if len(elements) == 0 {
			continue
		}
		if err := how(m[i], elements); err != nil {
			return err
		}
	}
	return nil
}

// Expel forgets a device. One that is not known is no error.
func (t *Table) Expel(device string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.expel(device)
}

func (t *Table) expel(device string) error {
	m, known := t.admitted[device]
	if !known {
		return nil
	}
	delete(t.admitted, device)
	err := t.members.change(m, t.conn.SetDeleteElements)
	if err == nil {
		err = t.flush()
	}
	if err = t.heal(err); err != nil {
		return fmt.Errorf("expel device %s: %w", device, err)
	}
	return nil
}

// Admitted lists the devices that are known.
func (t *Table) Admitted() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for device := range t.admitted {
		all = append(all, device)
	}
	return all
}

// readMembers reads the sets of members that are in the kernel, if there are any: containers of an earlier engine go on
// sending.
func (t *Table) readMembers() (map[string]Member, error) {
	there := map[string]Member{}
	table, err := t.conn.ListTableOfFamily(t.name, nftables.TableFamilyBridge)
	if err != nil {
		return there, nil
	}
	for i, name := range membersSets[:apart] {
		set, err := t.conn.GetSetByName(table, name)
		if err != nil {
			continue // of an earlier engine that knew no such set
		}
		elements, err := t.conn.GetSetElements(set)
		if err != nil {
			return nil, fmt.Errorf("read members of table %s: %w", t.name, err)
		}
		for _, e := range elements {
			if m, ok := memberOf(i, e); ok {
				there[m.Device] = there[m.Device].with(m)
			}
		}
	}
	return there, nil
}
