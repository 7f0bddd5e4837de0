package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Member is an endpoint's device on a bridge and who it is.
type Member struct {
	Device  string // on the host
	MAC     net.HardwareAddr
	Address netip.Addr
}

// membersSet is the name of the set of members.
const membersSet = "members"

// element is the member in the kernel's bytes.
func (m Member) element() nftables.SetElement {
	key := append(ifname(m.Device), m.MAC...)
	key = append(key, 0, 0)
	return nftables.SetElement{Key: append(key, m.Address.AsSlice()...)}
}

func memberOf(e nftables.SetElement) (Member, bool) {
	if len(e.Key) != unix.IFNAMSIZ+8+4 {
		return Member{}, false
	}
	name, _, _ := bytes.Cut(e.Key[:unix.IFNAMSIZ], []byte{0})
	rest := e.Key[unix.IFNAMSIZ:]
	return Member{string(name), bytes.Clone(rest[:6]), netip.AddrFrom4([4]byte(rest[8:]))}, true
}

// buildBorder puts the table of the bridge family into the batch: what comes from a container's device must have its
// hardware address and its address, as sender of packets and in answers to who has an address. All else from there is
// dropped, so that no container can pass for another or for the host. It returns the set of members, empty.
func buildBorder(conn *nftables.Conn, name, prefix string) *nftables.Set {
	table := &nftables.Table{Name: name, Family: nftables.TableFamilyBridge}
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	members := &nftables.Set{
		Table: table, Name: membersSet, Concatenation: true, KeyByteOrder: binaryutil.NativeEndian,
		KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr, nftables.TypeIPAddr),
	}
	conn.AddSet(members, nil)
	chain := conn.AddChain(&nftables.Chain{
		Name: "border", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	})
	kind := func(ether uint16) []expr.Any {
		return []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 12, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, ether)},
		}
	}
	// Registers of four bytes: 8 to 11 the device, 12 and 13 the hardware address, 14 the address.
	is := func(mac *expr.Payload, address uint32) []expr.Any {
		mac.DestRegister, mac.Len = 12, 6
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 8},
			mac,
			&expr.Payload{DestRegister: 14, Base: expr.PayloadBaseNetworkHeader, Offset: address, Len: 4},
			&expr.Lookup{SourceRegister: 8, SetName: members.Name, SetID: members.ID},
		}
	}
	sender := func() *expr.Payload { return &expr.Payload{Base: expr.PayloadBaseLLHeader, Offset: 6} }
	foreign := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte(prefix)},
	}
	for _, r := range []rule{
		join(foreign, verdict(expr.VerdictAccept)),
		join(kind(unix.ETH_P_IP), is(sender(), 12), verdict(expr.VerdictAccept)),
		join(kind(unix.ETH_P_ARP), is(sender(), 14), is(&expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: 8}, 14), verdict(expr.VerdictAccept)),
		{&expr.Verdict{Kind: expr.VerdictDrop}},
	} {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: r})
	}
	return members
}

// Admit lets a device send as who it is; what it was before, it is no more.
func (t *Table) Admit(m Member) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now, known := t.admitted[m.Device]; known && now.Address == m.Address && bytes.Equal(now.MAC, m.MAC) {
		return nil
	}
	if err := t.expel(m.Device); err != nil {
		return err
	}
	t.admitted[m.Device] = m
	err := t.conn.SetAddElements(t.members, []nftables.SetElement{m.element()})
	if err == nil {
		err = t.conn.Flush()
	}
	if err = t.heal(err); err != nil {
		delete(t.admitted, m.Device)
		return fmt.Errorf("admit device %s: %w", m.Device, err)
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
	err := t.conn.SetDeleteElements(t.members, []nftables.SetElement{m.element()})
	if err == nil {
		err = t.conn.Flush()
	}
	// A table that somebody flushed has no elements to remove.
	if err != nil && !errors.Is(err, unix.ENOENT) {
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

// readMembers reads the set of members that is in the kernel, if there is one: containers of an earlier engine go on sending.
func (t *Table) readMembers() (map[string]Member, error) {
	there := map[string]Member{}
	table, err := t.conn.ListTableOfFamily(t.name, nftables.TableFamilyBridge)
	if err != nil {
		return there, nil
	}
	set, err := t.conn.GetSetByName(table, membersSet)
	if err != nil {
		return there, nil
	}
	elements, err := t.conn.GetSetElements(set)
	if err != nil {
		return nil, fmt.Errorf("read members of table %s: %w", t.name, err)
	}
	for _, e := range elements {
		if m, ok := memberOf(e); ok {
			there[m.Device] = m
		}
	}
	return there, nil
}
