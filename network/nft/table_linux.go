// Package nft keeps the firewall table of one engine instance: address translation for what leaves the containers,
// published ports, and the walls between networks. Rules are written once; networks and ports are elements of sets
// and maps, so that a container costs an element and never a rule.
//
//	table ip <name>
//	    set bridges        devices of the instance's networks
//	    set closed         those of them that nothing leaves and nothing enters
//	    set inside         pairs of devices that may talk: each bridge with itself
//	    set subnets        ranges whose packets leave under the host's address
//	    map ports          protocol . host address . port : container address . port
//	    chain guard        prerouting, before conntrack: nothing from a container to or as 127.0.0.0/8
//	    chain prerouting   published ports, for those who come from outside or from a container
//	    chain output       published ports, for the host itself
//	    chain publish      the look-up for both
//	    chain forward      what may reach a container
//	    chain postrouting  what leaves under the host's address
//	table bridge <name>
//	    set members        device . hardware address . IPv4 address of each endpoint
//	    set members6       the same of IPv6
//	    chain border       what comes from a container's device: only what is its own
package nft

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Publication is one published port: who connects to Host is connected to Target.
type Publication struct {
	// Proto is the protocol's number: 6 TCP, 17 UDP, 132 SCTP.
	Proto        uint8
	Host, Target netip.AddrPort
}

// Table is an instance's table. It is safe for concurrent use.
type Table struct {
	name   string
	prefix string // of the names of containers' devices

	mu      sync.Mutex
	bridges []Bridge            // what is in the kernel's sets
	ports   map[key]Publication // what is in the kernel's map
	// admitted is what is in the kernel's set of members, by device.
	admitted map[string]Member
	members  members
	rules    int // how many there are in all
	conn     *nftables.Conn
	sets     sets
}

// key is what a publication is looked up by.
type key struct {
	proto uint8
	host  netip.AddrPort
}

// Bridge is a network's device and range.
type Bridge struct {
	Name   string
	Subnet netip.Prefix
	// Masquerade lets its packets leave under the host's address.
	Masquerade bool
	// Closed keeps all its packets within the network.
	Closed bool
	// Apart keeps its containers from talking to one another by way of the host.
	Apart bool
}

// sets are the table and what is in it, for adding elements.
type sets struct {
	table                                   *nftables.Table
	bridges, closed, inside, subnets, ports *nftables.Set
}

// Open writes the table called name, in one transaction, so that nothing is refused in between. prefix is what the names of
// containers' devices begin with. Ports that an earlier engine of this instance published stay published, and what it
// admitted stays so; Published and Admitted list them.
func Open(name, prefix string, bridges []Bridge) (*Table, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	t := &Table{name: name, prefix: prefix, bridges: bridges, conn: conn}
	if t.ports, err = t.readPorts(); err == nil {
		t.admitted, err = t.readMembers()
	}
	if err == nil {
		err = t.write()
	}
	if err != nil {
		conn.CloseLasting()
		return nil, err
	}
	return t, nil
}

// Restore writes the table anew, with all that is published: after somebody flushed it.
func (t *Table) Restore() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.write()
}

// Present tells whether the kernel still has the table, in both families, with all its rules.
func (t *Table) Present() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.conn.ListTableOfFamily(t.name, nftables.TableFamilyIPv4)
	_, err2 := t.conn.ListTableOfFamily(t.name, nftables.TableFamilyBridge)
	return err == nil && err2 == nil && t.count() == t.rules
}

// count is how many rules of the table the kernel has.
func (t *Table) count() (n int) {
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyBridge} {
		chains, err := t.conn.ListChainsOfTableFamily(family)
		if err != nil {
			continue
		}
		for _, c := range chains {
			if c.Table.Name == t.name {
				rules, _ := t.conn.GetRules(&nftables.Table{Name: t.name, Family: family}, c) // one that is gone has none
				n += len(rules)
			}
		}
	}
	return n
}

// write replaces the whole table; t.mu is held or t is new.
func (t *Table) write() error {
	t.sets = build(t.conn, t.name, t.bridges)
	t.members = buildBorder(t.conn, t.name, t.prefix)
	var published []nftables.SetElement
	for _, p := range t.ports {
		published = append(published, p.element(true))
	}
	admitted := t.admittedElements()
	for set, elements := range map[*nftables.Set][]nftables.SetElement{
		t.sets.ports: published, t.members[0]: admitted[0], t.members[1]: admitted[1],
	} {
		if len(elements) == 0 {
			continue
		}
		if err := t.conn.SetAddElements(set, elements); err != nil {
			return fmt.Errorf("fill set %s: %w", set.Name, err)
		}
	}
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("write nftables table %s: %w", t.name, err)
	}
	t.rules = t.count()
	return nil
}

// AddBridge lets a network's packets pass.
func (t *Table) AddBridge(b Bridge) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.bridges
	t.bridges = append(slices.Clone(before), b)
	if err := t.heal(t.change(b, t.conn.SetAddElements)); err != nil {
		t.bridges = before
		return fmt.Errorf("open firewall for %s: %w", b.Name, err)
	}
	return nil
}

// heal writes the tables anew, with what is to be in them by now, where a change failed because somebody had removed them
// just then: nobody has to wait for what watches them. t.mu is held.
func (t *Table) heal(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return t.write()
	}
	return err
}

// RemoveBridge forgets a network. One the table does not know is no error.
func (t *Table) RemoveBridge(name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.bridges, func(b Bridge) bool { return b.Name == name })
	if i < 0 {
		return nil
	}
	b := t.bridges[i]
	t.bridges = slices.Delete(t.bridges, i, i+1)
	// What is not there, because somebody flushed the table, need not be removed.
	if err := t.change(b, t.conn.SetDeleteElements); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("close firewall for %s: %w", name, err)
	}
	return nil
}

// change puts a network's elements into its sets, or takes them out.
func (t *Table) change(b Bridge, how func(*nftables.Set, []nftables.SetElement) error) error {
	for set, elements := range t.sets.of(b) {
		if len(elements) == 0 {
			continue
		}
		if err := how(set, elements); err != nil {
			return err
		}
	}
	return t.conn.Flush()
}

// Publish makes ports reachable, all or none.
func (t *Table) Publish(ports []Publication) error {
	if len(ports) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var elements []nftables.SetElement
	for _, p := range ports {
		elements = append(elements, p.element(true))
	}
	err := t.conn.SetAddElements(t.sets.ports, elements)
	if err == nil {
		err = t.conn.Flush()
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("publish ports: %w", err)
	}
	for _, p := range ports {
		t.ports[p.key()] = p
	}
	if err = t.heal(err); err != nil {
		for _, p := range ports {
			delete(t.ports, p.key())
		}
		return fmt.Errorf("publish ports: %w", err)
	}
	return nil
}

// Withdraw ends the publication of ports. One that is not published is no error.
func (t *Table) Withdraw(ports []Publication) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var elements []nftables.SetElement
	for _, p := range ports {
		if have, ok := t.ports[p.key()]; ok && have == p {
			elements = append(elements, p.element(false))
			delete(t.ports, p.key())
		}
	}
	if len(elements) == 0 {
		return nil
	}
	if err := t.conn.SetDeleteElements(t.sets.ports, elements); err != nil {
		return fmt.Errorf("withdraw ports: %w", err)
	}
	// A table that somebody flushed has no elements to remove: nothing is published, as was asked.
	if err := t.conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("withdraw ports: %w", err)
	}
	return nil
}

// Published lists what is published.
func (t *Table) Published() []Publication {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]Publication, 0, len(t.ports))
	for _, p := range t.ports {
		all = append(all, p)
	}
	return all
}

// Close lets go of the table and leaves it in the kernel.
func (t *Table) Close() error { return t.conn.CloseLasting() }

// Remove removes the table from the kernel. An absent one is no error.
func Remove(name string) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyBridge} {
		conn.DelTable(&nftables.Table{Name: name, Family: family})
		if err := conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove nftables table %s: %w", name, err)
		}
	}
	return nil
}

// ForwardDrops names the tables of others that drop what is forwarded unless a rule of theirs lets it through: where
// one does, containers reach nothing outside, whatever the instance's own table says.
func ForwardDrops() ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	var tables []string
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet} {
		chains, err := conn.ListChainsOfTableFamily(family)
		if err != nil {
			return nil, fmt.Errorf("list firewall chains: %w", err)
		}
		for _, c := range chains {
			forwards := c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward
			if forwards && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
				tables = append(tables, c.Table.Name)
			}
		}
	}
	return tables, nil
}

// Agrees tells whether the kernel's map of ports is what was published: somebody may have changed it.
func (t *Table) Agrees() (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	there, err := t.readPorts()
	return err == nil && maps.Equal(there, t.ports), err
}

// readPorts reads the map of ports that is in the kernel, if there is one.
func (t *Table) readPorts() (map[key]Publication, error) {
	there := map[key]Publication{}
	table, err := t.conn.ListTableOfFamily(t.name, nftables.TableFamilyIPv4)
	if err != nil {
		return there, nil
	}
	set, err := t.conn.GetSetByName(table, portsMap)
	if err != nil {
		return there, nil
	}
	elements, err := t.conn.GetSetElements(set)
	if err != nil {
		return nil, fmt.Errorf("read published ports of table %s: %w", t.name, err)
	}
	for _, e := range elements {
		if p, ok := publicationOf(e); ok {
			there[p.key()] = p
		}
	}
	return there, nil
}

func (p Publication) key() key { return key{p.Proto, p.Host} }

// element is the publication in the kernel's bytes: every field begins at a multiple of four.
func (p Publication) element(value bool) nftables.SetElement {
	e := nftables.SetElement{Key: make([]byte, 12)}
	e.Key[0] = p.Proto
	putAddrPort(e.Key[4:], p.Host)
	if value {
		e.Val = make([]byte, 8)
		putAddrPort(e.Val, p.Target)
	}
	return e
}

func putAddrPort(b []byte, a netip.AddrPort) {
	ip := a.Addr().As4()
	copy(b, ip[:])
	b[4], b[5] = byte(a.Port()>>8), byte(a.Port())
}

func publicationOf(e nftables.SetElement) (Publication, bool) {
	if len(e.Key) < 10 || len(e.Val) < 6 {
		return Publication{}, false
	}
	return Publication{Proto: e.Key[0], Host: addrPort(e.Key[4:]), Target: addrPort(e.Val)}, true
}

func addrPort(b []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), uint16(b[4])<<8|uint16(b[5]))
}
