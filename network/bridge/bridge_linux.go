// Package bridge makes the kernel's side of a network: the bridge device, network namespaces with a device on it, and
// what the host's routes say. Everything goes by netlink.
package bridge

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Device is a bridge of this host.
type Device struct {
	Name  string
	Index int
	MAC   net.HardwareAddr
	// Foreign tells that somebody else made it: it is used as it is, and never removed.
	Foreign bool
}

// Wish is the bridge that is to be.
type Wish struct {
	Name string
	// Addresses are the host's on it, one of each family that the network has.
	Addresses []netip.Prefix
	MTU       int
	// Tag is written on what is made, as the device's alias: by it the maker knows its own.
	Tag string
	// Chosen tells that the name is a user's: a bridge that is there without the tag is somebody else's.
	Chosen bool
	// Others leaves IPv4 addresses on it that somebody else gave it.
	Others bool
}

// Ensure makes sure that a bridge exists, is up and has exactly the addresses given; one of somebody else has them besides
// its own. A device of another kind under that name is an error and is left alone. When it fails, nothing is left that
// was not there.
func Ensure(w Wish) (d Device, err error) {
	name := w.Name
	link, err := netlink.LinkByName(name)
	if isAbsent(err) {
		defer func() {
			if err != nil {
				Remove(name)
			}
		}()
		link, err = create(name, w.Tag, w.MTU)
	}
	if err != nil {
		return Device{}, fmt.Errorf("set up bridge %s: %w", name, err)
	}
	if link.Type() != "bridge" {
		return Device{}, fmt.Errorf("set up bridge %s: a device of kind %s has this name", name, link.Type())
	}
	d = Device{Name: name, Index: link.Attrs().Index, MAC: link.Attrs().HardwareAddr, Foreign: w.Chosen && link.Attrs().Alias != w.Tag}
	if d.Foreign {
		return d, lodge(link, w.Addresses)
	}
	if link.Attrs().Alias != w.Tag {
		if err := netlink.LinkSetAlias(link, w.Tag); err != nil {
			return Device{}, fmt.Errorf("mark bridge %s: %w", name, err)
		}
	}
	if err := preferIPv6(name, slices.ContainsFunc(w.Addresses, six)); err != nil {
		return Device{}, err
	}
	if err := setAddresses(link, w.Addresses, w.Others); err != nil {
		return Device{}, fmt.Errorf("set address of bridge %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return Device{}, fmt.Errorf("set bridge %s up: %w", name, err)
	}
	return d, nil
}

// lodge gives somebody else's bridge further addresses, and leaves the rest to them.
func lodge(link netlink.Link, addresses []netip.Prefix) error {
	name := link.Attrs().Name
	for _, a := range addresses {
		if err := netlink.AddrAdd(link, address(a)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("set address of bridge %s: %w", name, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set bridge %s up: %w", name, err)
	}
	return nil
}

// Foreign tells whether a device called name is there that has not the tag.
func Foreign(name, tag string) bool {
	link, err := netlink.LinkByName(name)
	return err == nil && link.Attrs().Alias != tag
}

// Tagged are the bridges with the tag.
func Tagged(tag string) ([]Device, error) {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list bridges: %w", err)
	}
	var found []Device
	for _, l := range links {
		if a := l.Attrs(); l.Type() == "bridge" && a.Alias == tag {
			found = append(found, Device{Name: a.Name, Index: a.Index})
		}
	}
	return found, nil
}

// create makes the bridge with an address of its own: one that it kept borrowing from its ports would change with them.
func create(name, tag string, mtu int) (netlink.Link, error) {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac)
	mac[0] = mac[0]&^1 | 2
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = name, mac, mtu
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	link, err := netlink.LinkByName(name)
	if err == nil && tag != "" {
		err = netlink.LinkSetAlias(link, tag)
		link.Attrs().Alias = tag
	}
	return link, err
}

// setAddresses gives the bridge exactly these addresses, or, with others, leaves those of IPv4 that it has. What IPv6 has on every link
// is left alone.
func setAddresses(link netlink.Link, want []netip.Prefix, others bool) error {
	have, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return err
	}
	missing := slices.Clone(want)
	for _, a := range have {
		p, ok := prefixOf(a.IPNet)
		if at := slices.Index(missing, p); ok && at >= 0 {
			missing = slices.Delete(missing, at, at+1)
			continue
		}
		if six(p) && p.Addr().IsLinkLocalUnicast() || others && !six(p) {
			continue
		}
		if err := netlink.AddrDel(link, &a); err != nil {
			return err
		}
	}
	for _, p := range missing {
		if err := netlink.AddrAdd(link, address(p)); err != nil {
			return err
		}
	}
	return nil
}

// Extend makes a further bridge, with a tag, for the ports that the first has no room for, connected to it by a pair of
// devices of which link is the one on the first. Apart keeps what comes by it from the first's own ports of this kind, as they are
// kept from one another. What is there already is taken as it is.
func (d Device) Extend(name, link, tag string, mtu int, apart bool) (Device, error) {
	further, err := netlink.LinkByName(name)
	if isAbsent(err) {
		further, err = create(name, tag, mtu)
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

// Clear removes the bridge and the devices that lead from it to further ones.
func (d Device) Clear() error {
	links, err := d.Ports("cl")
	if err != nil {
		return err
	}
	for _, name := range links {
		if err := RemovePort(name); err != nil {
			return err
		}
	}
	return Remove(d.Name)
}

// Addresses are the first address of each family of the bridge called name; none when there is no such bridge.
func Addresses(name string) []netip.Prefix {
	link, err := netlink.LinkByName(name)
	if err != nil || link.Type() != "bridge" {
		return nil
	}
	addrs, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return nil
	}
	var found []netip.Prefix
	for _, a := range addrs {
		p, ok := prefixOf(a.IPNet)
		known := slices.ContainsFunc(found, func(o netip.Prefix) bool { return six(o) == six(p) })
		if ok && !known && !(six(p) && p.Addr().IsLinkLocalUnicast()) {
			found = append(found, p)
		}
	}
	return found
}

// Ports returns the names of the devices on the bridge that begin with prefix.
func (d Device) Ports(prefix string) ([]string, error) {
	ports, err := d.ports(prefix)
	return slices.Collect(maps.Keys(ports)), err
}

// ports are the devices on the bridge that begin with prefix, with their aliases.
func (d Device) ports(prefix string) (map[string]string, error) {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list devices on %s: %w", d.Name, err)
	}
	found := map[string]string{}
	for _, l := range links {
		if a := l.Attrs(); a.MasterIndex == d.Index && l.Type() == "veth" && strings.HasPrefix(a.Name, prefix) {
			found[a.Name] = a.Alias
		}
	}
	return found, nil
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

// Alias is what is written on the device called name.
func Alias(name string) string {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return ""
	}
	return link.Attrs().Alias
}

// Exists tells whether the host has a device called name.
func Exists(name string) bool { return indexOf(name) > 0 }

// Index is the number of the device called name, 0 without one. No later device has the number of an earlier one.
func Index(name string) int { return indexOf(name) }

// RemoveIndex removes the device with this number. An absent one is no error.
func RemoveIndex(index int) error {
	err := netlink.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if err != nil && !isAbsent(err) {
		return fmt.Errorf("remove device %d: %w", index, err)
	}
	return nil
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

// whole asks again while the kernel says that its answer was overtaken by a change and may lack something; a little later each
// time, as there are many changes in a row where many containers start.
func whole[T any](list func() ([]T, error)) (all []T, err error) {
	for tries := range 50 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
		time.Sleep(time.Duration(tries) * time.Millisecond)
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
	ones, bits := n.Mask.Size()
	if bits == 32 {
		addr = addr.Unmap()
	}
	if !ok || addr.BitLen() != bits {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, ones), true
}
