// Package bridge makes the kernel's side of a network: the bridge device, network namespaces with a device on it, and
// what the host's routes say. Everything goes by netlink.
package bridge

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Device is a bridge of this host.
type Device struct {
	Name  string
	Index int
}

// Ensure makes sure that a bridge called name exists, is up and has exactly the IPv4 address given. A device of
// another kind under that name is an error and is left alone.
func Ensure(name string, address netip.Prefix, mtu int) (Device, error) {
	link, err := netlink.LinkByName(name)
	if isAbsent(err) {
		link, err = create(name, mtu)
	}
	if err != nil {
		return Device{}, fmt.Errorf("set up bridge %s: %w", name, err)
	}
	if link.Type() != "bridge" {
		return Device{}, fmt.Errorf("set up bridge %s: a device of kind %s has this name", name, link.Type())
	}
	// Without IPv6 networks nothing answers there: no link-local address of the host that containers could reach.
	if err := setSysctl("ipv6/conf/"+name+"/disable_ipv6", "1"); err != nil {
		return Device{}, err
	}
	if err := setAddress(link, address); err != nil {
		return Device{}, fmt.Errorf("set address of bridge %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return Device{}, fmt.Errorf("set bridge %s up: %w", name, err)
	}
	return Device{Name: name, Index: link.Attrs().Index}, nil
}

// create makes the bridge with an address of its own: one that it kept borrowing from its ports would change with them.
func create(name string, mtu int) (netlink.Link, error) {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac)
	mac[0] = mac[0]&^1 | 2
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = name, mac, mtu
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	return netlink.LinkByName(name)
}

func setAddress(link netlink.Link, want netip.Prefix) error {
	have, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_V4) })
	if err != nil {
		return err
	}
	found := false
	for _, a := range have {
		if p, ok := prefixOf(a.IPNet); ok && p == want {
			found = true
			continue
		}
		if err := netlink.AddrDel(link, &a); err != nil {
			return err
		}
	}
	if found {
		return nil
	}
	return netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(want)})
}

// Extend makes a further bridge for the ports that the first has no room for, connected to it by a pair of devices of
// which link is the one on the first. Apart keeps what comes by it from the first's own ports of this kind, as they are
// kept from one another. What is there already is taken as it is.
func (d Device) Extend(name, link string, mtu int, apart bool) (Device, error) {
	further, err := netlink.LinkByName(name)
	if isAbsent(err) {
		further, err = create(name, mtu)
	}
	if err != nil {
		return Device{}, fmt.Errorf("extend bridge %s: %w", d.Name, err)
	}
	ext := Device{Name: name, Index: further.Attrs().Index}
	if err := setSysctl("ipv6/conf/"+name+"/disable_ipv6", "1"); err != nil {
		return Device{}, err
	}
	if indexOf(link) == 0 {
		if err := d.connect(ext, link, mtu, apart); err != nil {
			return Device{}, fmt.Errorf("extend bridge %s: %w", d.Name, err)
		}
	}
	if err := netlink.LinkSetUp(further); err != nil {
		return Device{}, fmt.Errorf("extend bridge %s: set %s up: %w", d.Name, name, err)
	}
	return ext, nil
}

// connect makes the pair of devices between two bridges.
func (d Device) connect(ext Device, link string, mtu int, apart bool) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = link, mtu, d.Index
	peer := link + "x"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer}); err != nil {
		return err
	}
	ends := map[string]int{link: d.Index, peer: ext.Index}
	for name, master := range ends {
		end, err := netlink.LinkByName(name)
		if err == nil {
			err = setSysctl("ipv6/conf/"+name+"/disable_ipv6", "1")
		}
		if err == nil {
			err = netlink.LinkSetMasterByIndex(end, master)
		}
		if err == nil && apart && name == link {
			err = netlink.LinkSetIsolated(end, true)
		}
		if err == nil {
			err = netlink.LinkSetUp(end)
		}
		if err != nil {
			RemovePort(link)
			return err
		}
	}
	settle(indexOf(link))
	settle(indexOf(peer))
	return nil
}

// Remove removes the bridge called name. An absent one is no error.
func Remove(name string) error {
	link, err := netlink.LinkByName(name)
	if isAbsent(err) {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !isAbsent(err) {
		return fmt.Errorf("remove bridge %s: %w", name, err)
	}
	return nil
}

// Address is the first IPv4 address of the bridge called name; the zero value when there is no such bridge.
func Address(name string) netip.Prefix {
	link, err := netlink.LinkByName(name)
	if err != nil || link.Type() != "bridge" {
		return netip.Prefix{}
	}
	addrs, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_V4) })
	if err != nil || len(addrs) == 0 {
		return netip.Prefix{}
	}
	p, _ := prefixOf(addrs[0].IPNet)
	return p
}

// Ports returns the names of the devices on the bridge that begin with prefix.
func (d Device) Ports(prefix string) ([]string, error) {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list devices on %s: %w", d.Name, err)
	}
	var names []string
	for _, l := range links {
		if a := l.Attrs(); a.MasterIndex == d.Index && l.Type() == "veth" && strings.HasPrefix(a.Name, prefix) {
			names = append(names, a.Name)
		}
	}
	return names, nil
}

// PortNames is Ports by the kernel's files, which also on a busy host give the whole list at once.
func (d Device) PortNames(prefix string) ([]string, error) {
	entries, err := os.ReadDir("/sys/class/net/" + d.Name + "/brif")
	if err != nil {
		return nil, fmt.Errorf("list devices on %s: %w", d.Name, err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Exists tells whether the host has a device called name.
func Exists(name string) bool {
	return indexOf(name) > 0
}

// indexOf is the number of the device called name, 0 without one. Unlike netlink it waits for no lock of the kernel.
func indexOf(name string) int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil || unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req) != nil {
		return 0
	}
	return int(req.Uint32())
}

// RemovePort removes a device on the bridge and with it its peer in the container. An absent one is no error.
func RemovePort(name string) error { return Remove(name) }

// Hairpin lets the bridge send packets back out of the port they came in by: a container's own to a port it has
// published, where the kernel filters bridged packets (bridge-nf-call-iptables) and turns them round on the bridge.
func Hairpin(port string) error {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: indexOf(port), Name: port}}
	if err := netlink.LinkSetHairpin(link, true); err != nil {
		return fmt.Errorf("let %s answer itself: %w", port, err)
	}
	return nil
}

// RouteLocalNet lets packets to and from 127.0.0.0/8 pass the bridge, so that a connection the host makes to a port
// published on its loopback reaches the container. The firewall drops such packets where a container sends them.
func (d Device) RouteLocalNet() error {
	return setSysctl("ipv4/conf/"+d.Name+"/route_localnet", "1")
}

// whole asks again while the kernel says that its answer was overtaken by a change and may lack something.
func whole[T any](list func() ([]T, error)) (all []T, err error) {
	for range 20 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, err
}

func isAbsent(err error) bool {
	return errors.As(err, new(netlink.LinkNotFoundError)) || errors.Is(err, unix.ENODEV)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	if addr = addr.Unmap(); !ok || !addr.Is4() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, ones), true
}
