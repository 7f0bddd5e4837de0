// Package nft keeps the firewall table of one engine instance: address translation for what leaves the containers,
// published ports, and the walls between networks. Rules are written once; networks and ports are elements of sets
// and maps, so that a container costs an element and never a rule.
//
//	table ip <name>, and the same as ip6, while there is a network with IPv6
//	    set bridges        devices of the instance's networks
//	    set closed         those of them that nothing leaves and nothing enters
//	    set inside         pairs of devices that may talk: each bridge with itself
//	    set subnets        ranges of the networks
//	    set hidden         those of them whose packets leave under the host's address
//	    map named          those of them whose packets leave under a certain one : that address
//	    set routed         devices of networks whose containers are reached at their own addresses where they publish ports
//	    set open           devices of networks whose containers are reached from outside at all their ports
//	    set trusted        pairs of devices, of the host and of a network: from the one, ports that are published are reached as if routed
//	    map hosts          ip6 alone: range of a network : the host's address there
//	    map ports          protocol . host address . port : container address . port
//	    map ranges         protocol . host address . range of ports : container address, the port staying the same
//	    set linked         address . address . protocol . port: who may talk although their network keeps its containers apart
//	    set opened         protocol . container address . port: published where containers are reached at their own addresses
//	    map relayed        ip6 alone: as ports, to addresses of IPv4 that a socket of the engine leads on to
//	    map relayed_ranges the same of ranges
//	    set limited        protocol . host address . range of ports: those that only some may connect to
//	    set sources        protocol . host address . range of ports . range of addresses: who these are
//	    set allowed        ranges of addresses that may connect to published ports from outside
//	    chain guard        prerouting, before conntrack: nothing from a container to or as 127.0.0.0/8
//	    chain prerouting   published ports, for those who come from outside or from a container
//	    chain dialled      the two that follow, for who dials an address of the host
//	    chain wall         who may not connect to a published port
//	    chain output       published ports, for the host itself
//	    chain publish      the look-up for both; ip6: who dials an address of a link, or a port that is relayed, is led to a socket of the engine
//	    chain opened       who may connect to a published port at the container's own address
//	    chain forward      what may reach a container
//	    chain postrouting  what leaves under the host's address
//	    chain leave        ip6 alone: the host's own packets to ports published on ::1
//	    chain arrive       ip6 alone: the answers to these
//	table bridge <name>
//	    set members        device . hardware address . IPv4 address of each endpoint
//	    set members6       the same of IPv6
//	    set routers        device . hardware address of endpoints that may send what is from others
//	    set apart          devices of endpoints that talk to the host alone
//	    set gates          the same . hardware address of the host on their bridge
//	    set kin            devices of endpoints that are linked . hardware address of the other, for both
//	    set lets           the same of the one that was linked to the other . protocol . port there
//	    set back           the same of the other, for the answers
//	    chain border       what comes from a container's device: only what is its own
//	    chain aside        where containers talk to the host alone: what else they may send, questions for the host's address, and what links let
package nft

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Table is an instance's table. It is safe for concurrent use.
type Table struct {
	name   string
	prefix string // of the names of containers' devices
	direct bool
	marked Mark
	near   Near

	mu      sync.Mutex
	bridges []Bridge            // what is in the kernel's sets
	ports   map[key]Publication // what is in the kernel's maps
	limits  map[Limit]bool      // who may connect to them, in its sets
	allowed []netip.Prefix
	// admitted is what is in the kernel's set of members, by device.
	admitted map[string]Member
	members  members
	linked   map[Link]bool // likewise
	links    links
	gated    bool // a member has a gate
	rules    int  // how many there are in all
	conn     *nftables.Conn
	closed   bool
	sets     [2]sets // by family
	six      bool    // there is a table of IPv6
}

// Bridge is a network's device and ranges.
type Bridge struct {
	Name string
	// Hosts are the host's addresses on it, with the network's ranges.
	Hosts []netip.Prefix
	// Masquerade lets its packets leave under the host's address.
	Masquerade bool
	// Four and Six are how its containers are reached, and what they are seen as, in each family.
	Four, Six Way
	// Trusted are devices of the host from which its published ports are reached at the containers' own addresses.
	Trusted []string
	// Closed keeps all its packets within the network.
	Closed bool
	// Apart keeps its containers from talking to one another by way of the host.
	Apart bool
}

// sets are the table and what is in it, for adding elements.
type sets struct {
	family                                family
	direct                                bool
	marked                                Mark
	near                                  uint16
	table                                 *nftables.Table
	bridges, closed, inside               *nftables.Set
	subnets, hidden, hosts                *nftables.Set
	ports, ranges, relayed, relayedRanges *nftables.Set
	limited, sources, allowed             *nftables.Set
	named, routed, open, trusted, opened  *nftables.Set
	linked                                *nftables.Set
}

const (
	// largestBatch is how many bytes of changes go to the kernel at once: some hundred thousand ports.
	largestBatch = 32 << 20
	// mostReplies is how much room there is for what the kernel says to one batch, which is a message to every one in it. It
	// counts a kilobyte for each.
	mostReplies = 4 << 20
)

// Config is what a table is made from.
type Config struct {
	Name string
	// Prefix is what the names of containers' devices begin with.
	Prefix  string
	Bridges []Bridge
	// Allowed are who may connect to published ports from outside, see Allow.
	Allowed []netip.Prefix
	// Direct lets published ports be reached from outside at the containers' own addresses, whatever the network's way.
	Direct bool
	// Near is opened when there is anything of IPv6.
	Near Near
	// Marked are packets that are let into networks, but for closed ones.
	Marked Mark
}

// Mark is a firewall mark by which others tell packets: those whose mark has Value in the bits of Mask. The zero value is none.
type Mark struct{ Value, Mask uint32 }

// Open writes the table, in one transaction, so that nothing is refused in between. Ports that an earlier engine of this instance published stay published, and what it
// admitted stays so; Published and Admitted list them.
func Open(c Config) (*Table, error) {
	conn, err := connect()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	t := &Table{name: c.Name, prefix: c.Prefix, direct: c.Direct, marked: c.Marked, near: c.Near, bridges: c.Bridges, allowed: c.Allowed, conn: conn}
	if t.ports, t.limits, err = t.readPorts(); err == nil {
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

// connect opens a connection for many changes. A batch is one message to the kernel, and must fit into the buffer of its
// socket, as the replies must.
func connect() (*nftables.Conn, error) {
	return nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetWriteBuffer(largestBatch), c.SetReadBuffer(mostReplies))
	}))
}

// flush sends the batch to the kernel. After a failure there may be replies that nobody has read, which would be taken for
// those to the next batch: the connection is another one then.
func (t *Table) flush() error {
	if t.closed {
		return net.ErrClosed
	}
	err := t.conn.Flush()
	if err != nil {
		t.conn.CloseLasting() // it goes on by a connection for each batch
		if again, err := connect(); err == nil {
			t.conn = again
		}
	}
	return err
}

// Restore writes the table anew, with all that is published: after somebody flushed it.
func (t *Table) Restore() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.write()
}

// Present tells whether the kernel still has the table, in all families, with all its rules.
func (t *Table) Present() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, family := range t.tables() {
		if _, err := t.conn.ListTableOfFamily(t.name, family); err != nil {
			return false
		}
	}
	return t.count() == t.rules
}

// tables are the families that the table is in.
func (t *Table) tables() []nftables.TableFamily {
	if t.six {
		return []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyBridge}
	}
	return []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyBridge}
}

// inUse are the sets of the families that there are tables of.
func (t *Table) inUse() []sets {
	if t.six {
		return t.sets[:]
	}
	return t.sets[:1]
}

// count is how many rules of the table the kernel has.
func (t *Table) count() (n int) {
	for _, family := range t.tables() {
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
	// A host that has no IPv6 has no table of it either.
	before := t.six
	t.six = t.hasIPv6()
	if !before && !t.six {
		_, err := t.conn.ListTableOfFamily(t.name, nftables.TableFamilyIPv6)
		before = err == nil
	}
	if before && !t.six {
		t.conn.AddTable(&nftables.Table{Name: t.name, Family: nftables.TableFamilyIPv6})
		t.conn.DelTable(&nftables.Table{Name: t.name, Family: nftables.TableFamilyIPv6})
	}
	for i, f := range families() {
		if f.six && !t.six {
			continue
		}
		var near uint16
		if f.six && t.near != nil {
			near = t.near.Open(t.Leads)
		}
		t.sets[i] = t.build(f, near)
	}
	for _, m := range t.admitted {
		t.gated = t.gated || m.Gate != nil
	}
	t.members = buildBorder(t.conn, t.name, t.prefix, t.gated, &t.links)
	admitted := t.admittedElements()
	add := t.conn.SetAddElements
	errs := []error{t.fillPorts(), t.fillLinks()}
	for i, set := range t.members {
		errs = append(errs, t.each(set, admitted[i], add))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("fill nftables table %s: %w", t.name, err)
	}
	if err := t.flush(); err != nil {
		return fmt.Errorf("write nftables table %s: %w", t.name, err)
	}
	t.rules = t.count()
	return nil
}

// hasIPv6 tells whether there is anything for a table of IPv6.
func (t *Table) hasIPv6() bool {
	six := families()[1]
	for k := range t.ports {
		if k.host.Addr().Is6() {
			return true
		}
	}
	return slices.ContainsFunc(t.bridges, func(b Bridge) bool { return len(six.of(b.Hosts)) > 0 })
}

// AddBridge lets a network's packets pass.
func (t *Table) AddBridge(b Bridge) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.bridges
	t.bridges = append(slices.Clone(before), b)
	add := func() error { return t.heal(t.change(b, t.conn.SetAddElements)) }
	if t.hasIPv6() && !t.six {
		add = t.write
	}
	if err := add(); err != nil {
		t.bridges = before
		return fmt.Errorf("open firewall for %s: %w", b.Name, err)
	}
	return nil
}

// heal writes the tables anew, with what is to be in them by now, where a change failed because they are not what they were left
// as: somebody removed them just then, for whom nobody has to wait until what watches them has seen it, or put something in, or
// the kernel had no room for its reply to a change. t.mu is held.
func (t *Table) heal(err error) error {
	for _, kind := range []error{unix.ENOENT, unix.EEXIST, unix.ENOBUFS} {
		if errors.Is(err, kind) {
			return t.write()
		}
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
	if err := t.heal(t.change(b, t.conn.SetDeleteElements)); err != nil {
		return fmt.Errorf("close firewall for %s: %w", name, err)
	}
	return nil
}

// change puts a network's elements into its sets, or takes them out.
func (t *Table) change(b Bridge, how func(*nftables.Set, []nftables.SetElement) error) error {
	for _, s := range t.inUse() {
		for set, elements := range s.of(b) {
			if len(elements) == 0 {
				continue
			}
			if err := how(set, elements); err != nil {
				return err
			}
		}
	}
	return t.flush()
}

// Close lets go of the table and leaves it in the kernel. It is changed no more: a later engine may have it.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return t.conn.CloseLasting()
}

// Remove removes the table from the kernel. An absent one is no error.
func Remove(name string) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyBridge} {
		if _, err := conn.ListTableOfFamily(name, family); err != nil && family == nftables.TableFamilyIPv6 {
			continue // the host may not know the family at all
		}
		conn.DelTable(&nftables.Table{Name: name, Family: family})
		if err := conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove nftables table %s: %w", name, err)
		}
	}
	return nil
}

// ForwardDrops names the tables of others that drop what is forwarded unless a rule of theirs lets it through: where
// one does, containers reach nothing outside, whatever the instance's own table says. Those of IPv6 count where there are
// networks with it.
func ForwardDrops(six bool) ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	var tables []string
	kinds := []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet}
	if six {
		kinds = append(kinds, nftables.TableFamilyIPv6)
	}
	for _, family := range kinds {
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
