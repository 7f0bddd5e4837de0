package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Taken returns every range that the host routes or has an address in, except those of the device called own, and except
// what every link has.
func Taken(own string) ([]netip.Prefix, error) {
	index := -1
	if link, err := netlink.LinkByName(own); err == nil {
		index = link.Attrs().Index
	}
	var taken []netip.Prefix
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := routesOf(family, unix.RT_TABLE_UNSPEC)
		if err != nil {
			return nil, fmt.Errorf("read the host's routes: %w", err)
		}
		for _, r := range routes {
			if p, ok := prefixOf(r.Dst); ok && r.LinkIndex != index && !(six(p) && ofEveryLink(p)) {
				taken = append(taken, p)
			}
		}
	}
	addrs, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("read the host's addresses: %w", err)
	}
	for _, a := range addrs {
		if p, ok := prefixOf(a.IPNet); ok && a.LinkIndex != index && !(six(p) && ofEveryLink(p)) {
			taken = append(taken, p.Masked())
		}
	}
	return taken, nil
}

// ofEveryLink tells ranges of IPv6 that are on each link anew.
func ofEveryLink(p netip.Prefix) bool {
	return p.Addr().IsLinkLocalUnicast() || p.Addr().IsMulticast() || p.Addr().IsLoopback()
}

// routesOf reads a routing table of a family, or all of them.
func routesOf(family, table int) ([]netlink.Route, error) {
	return whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	})
}

// DefaultMTU is the MTU of the device that the host's default route leaves by; 1500 without one.
func DefaultMTU() int {
	routes, err := routesOf(netlink.FAMILY_V4, unix.RT_TABLE_MAIN)
	if err != nil {
		return 1500
	}
	mtu, metric := 1500, -1
	for _, r := range routes {
		if !isDefault(r) || metric >= 0 && r.Priority >= metric {
			continue
		}
		if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			mtu, metric = link.Attrs().MTU, r.Priority
		}
	}
	return mtu
}

// isDefault tells whether a route leads everywhere.
func isDefault(r netlink.Route) bool {
	p, ok := prefixOf(r.Dst)
	return !ok || p.Bits() == 0
}

// forwarding is held while it is switched on.
var forwarding sync.Mutex

// ForwardIPv4 has the host pass packets on between its devices. It changes nothing where that is on already.
//
// The setting of all devices stands for those of each, which the kernel sets after it. Of two who write it at once one can make the
// kernel believe that it has been on before: then no device forwards. So one writes at a time; where an other program did, it is
// written once more.
func ForwardIPv4() error {
	forwarding.Lock()
	defer forwarding.Unlock()
	const all, later = "ipv4/ip_forward", "ipv4/conf/default/forwarding"
	if readSysctl(all) == "1" {
		return nil
	}
	if err := setSysctl(all, "1"); err != nil || readSysctl(later) == "1" {
		return err
	}
	return errors.Join(setSysctl(all, "0"), setSysctl(all, "1"))
}

// Forwards tells whether the host passes packets of IPv4 on between its devices.
func Forwards() bool { return readSysctl("ipv4/ip_forward") == "1" }

// RoomForNeighbours sees to it that n containers of the host can talk to one another, whatever network they are on: with the limits that
// the kernel has by itself packets are dropped among a few hundred busy ones. The tables of neighbours, one for each family and all
// network namespaces, hold 1,024 (arp(7), gc_thresh3). What is for all on a bridge waits for each of its ports in one queue of 1,000, and
// the last would never hear who asks for them (net.core.netdev_max_backlog). It only ever raises the limits.
func RoomForNeighbours(n int) error {
	for name, want := range map[string]int{
		"ipv4/neigh/default/gc_thresh3": 4 * n, "ipv4/neigh/default/gc_thresh2": 2 * n,
		"ipv6/neigh/default/gc_thresh3": 4 * n, "ipv6/neigh/default/gc_thresh2": 2 * n,
		"core/netdev_max_backlog": 4 * n,
	} {
		// One that cannot be read is not this host's business, or not ours.
		if now, err := strconv.Atoi(readSysctl(name)); err == nil && now < want {
			if err := setSysctl(name, strconv.Itoa(want)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Led is a port of the host that leads to a container.
type Led struct {
	Proto        uint8
	Host, Target netip.AddrPort
}

// ForgetFlows removes what the kernel remembers of connections to and from the old addresses, so that the next container
// with one meets none of them, and of those to ports of the host that lead elsewhere than they do now.
func ForgetFlows(old []netip.Addr, now []Led) error {
	var errs []error
	for _, six := range []bool{false, true} {
		f := staleFilter{old: map[netip.Addr]bool{}, now: map[ledKey][]Led{}}
		for _, a := range old {
			if a.Is6() == six {
				f.old[a] = true
			}
		}
		for _, l := range now {
			if l.Host.Addr().Is6() == six {
				key := ledKey{l.Proto, l.Host.Port()}
				f.now[key] = append(f.now[key], l)
			}
		}
		if len(f.old)+len(f.now) == 0 {
			continue
		}
		if len(f.now) > 0 {
			addresses, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
			if err != nil {
				errs = append(errs, fmt.Errorf("read the host's addresses: %w", err))
			}
			f.host = map[netip.Addr]bool{}
			for _, a := range addresses {
				if p, ok := prefixOf(a.IPNet); ok {
					f.host[p.Addr()] = true
				}
			}
		}
		family := netlink.InetFamily(unix.AF_INET)
		if six {
			family = unix.AF_INET6
		}
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, f)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, netlink.ErrDumpInterrupted) {
			errs = append(errs, fmt.Errorf("forget connections: %w", err))
		}
	}
	return errors.Join(errs...)
}

type ledKey struct {
	proto uint8
	port  uint16
}

// staleFilter matches connections of addresses that are somebody else's now, and to ports that lead elsewhere.
type staleFilter struct {
	old  map[netip.Addr]bool
	now  map[ledKey][]Led
	host map[netip.Addr]bool // the host's own
}

// MatchConntrackFlow tells whether a connection is of these.
func (f staleFilter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	from, to, at := addressOf(flow.Forward.SrcIP), addressOf(flow.Forward.DstIP), addressOf(flow.Reverse.SrcIP)
	if f.old[from] || f.old[at] {
		return true
	}
	for _, l := range f.now[ledKey{flow.Forward.Protocol, flow.Forward.DstPort}] {
		dialled := l.Host.Addr() == to || l.Host.Addr().IsUnspecified() && (to.IsLoopback() || f.host[to])
		if dialled && netip.AddrPortFrom(at, flow.Reverse.SrcPort) != l.Target {
			return true
		}
	}
	return false
}

func addressOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// ForgetPorts removes what the kernel remembers of connections to address by what gone tells of, which is asked for what was
// dialled: a client of a port that is no longer published does not go on talking.
func ForgetPorts(address netip.Addr, gone func(proto uint8, dialled netip.AddrPort) bool) error {
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, inetFamily(address), portFilter{address, gone})
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("forget connections of %s: %w", address, err)
	}
	return nil
}

func inetFamily(a netip.Addr) netlink.InetFamily {
	if a.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

type portFilter struct {
	address netip.Addr
	gone    func(proto uint8, dialled netip.AddrPort) bool
}

// MatchConntrackFlow tells whether a connection leads to the address by one of the ports.
func (f portFilter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	return flow.Reverse.SrcIP.Equal(f.address.AsSlice()) && f.gone(flow.Forward.Protocol, netip.AddrPortFrom(addressOf(flow.Forward.DstIP), flow.Forward.DstPort))
}

// setSysctl writes a setting below /proc/sys/net of the calling thread's namespace. One the kernel lacks is skipped.
func setSysctl(name, value string) error {
	err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("set net/%s: %w", name, err)
	}
	return nil
}
