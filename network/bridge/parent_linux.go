package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Parent is a device of the host that containers' devices are on beside its own: by hardware addresses of their own (macvlan),
// or by their addresses alone (ipvlan). The host itself does not reach them by it, nor they the host.
type Parent struct {
	Name string
	MTU  int
	MAC  net.HardwareAddr
	// Made tells that it was made for this, and is removed with the network.
	Made  bool
	index int
	kind  Kind
}

// Kind is how devices are on a parent.
type Kind struct {
	// Driver is macvlan or ipvlan; Mode and Flag are theirs.
	Driver, Mode, Flag string
}

// ParentWish is the parent that is to be.
type ParentWish struct {
	Kind
	// Name is the device's; "eth0.50" is made where it is not there, for the packets of VLAN 50 on eth0. Without a name there is
	// a device that leads nowhere, called Own.
	Name, Own string
	// Tag is written on what is made.
	Tag string
}

var (
	macvlanModes = map[string]netlink.MacvlanMode{
		"bridge": netlink.MACVLAN_MODE_BRIDGE, "private": netlink.MACVLAN_MODE_PRIVATE, "vepa": netlink.MACVLAN_MODE_VEPA, "passthru": netlink.MACVLAN_MODE_PASSTHRU,
	}
	ipvlanModes = map[string]netlink.IPVlanMode{"l2": netlink.IPVLAN_MODE_L2, "l3": netlink.IPVLAN_MODE_L3, "l3s": netlink.IPVLAN_MODE_L3S}
	ipvlanFlags = map[string]netlink.IPVlanFlag{"bridge": netlink.IPVLAN_FLAG_BRIDGE, "private": netlink.IPVLAN_FLAG_PRIVATE, "vepa": netlink.IPVLAN_FLAG_VEPA}
)

// EnsureParent makes sure that the parent exists. One that is named and cannot be made is errdefs.ErrInvalidArgument.
func EnsureParent(w ParentWish) (Parent, error) {
	name := w.Name
	if name == "" {
		name = w.Own
	}
	link, err := netlink.LinkByName(name)
	if isAbsent(err) {
		link, err = makeParent(w, name)
	}
	if err != nil {
		return Parent{}, fmt.Errorf("set up parent %s: %w", name, err)
	}
	a := link.Attrs()
	p := Parent{Name: name, MTU: a.MTU, MAC: a.HardwareAddr, Made: a.Alias == w.Tag, index: a.Index, kind: w.Kind}
	if p.Made {
		if err := netlink.LinkSetUp(link); err != nil {
			return Parent{}, fmt.Errorf("set parent %s up: %w", name, err)
		}
	}
	return p, nil
}

// makeParent makes a device of a VLAN, or one that leads nowhere.
func makeParent(w ParentWish, name string) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Alias = name, w.Tag
	var wanted netlink.Link = &netlink.Dummy{LinkAttrs: attrs}
	if w.Name != "" {
		at := strings.LastIndexByte(name, '.')
		if at < 0 {
			return nil, errdefs.ErrInvalidArgument.WithMessage("the host has no device " + name)
		}
		id, err := strconv.Atoi(name[at+1:])
		if err != nil || id < 1 || id > 4094 {
			return nil, errdefs.ErrInvalidArgument.WithMessage("the host has no device " + name + ", and it is no name of a VLAN such as eth0.50")
		}
		base, err := netlink.LinkByName(name[:at])
		if isAbsent(err) {
			return nil, errdefs.ErrInvalidArgument.WithMessage("the host has no device " + name[:at] + " to make VLAN " + name + " on")
		}
		if err != nil {
			return nil, err
		}
		attrs.ParentIndex = base.Attrs().Index
		wanted = &netlink.Vlan{LinkAttrs: attrs, VlanId: id}
	}
	if err := netlink.LinkAdd(wanted); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, withoutKind(err, wanted)
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetAlias(link, w.Tag); err != nil {
		Remove(name)
		return nil, err
	}
	link.Attrs().Alias = w.Tag
	return link, nil
}

// SharesMAC tells that all devices on it have the parent's hardware address.
func (d Parent) SharesMAC() bool { return d.kind.Driver == "ipvlan" }

// withoutKind says so where the kernel does not know a kind of device.
func withoutKind(err error, l netlink.Link) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return errdefs.ErrNotImplemented.WithMessage("this host's kernel has no devices of the kind " + l.Type())
	}
	return err
}

// Parents are the devices with the tag that were made to be parents.
func Parents(tag string) ([]string, error) {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	var found []string
	for _, l := range links {
		if l.Attrs().Alias == tag && (l.Type() == "vlan" || l.Type() == "dummy") {
			found = append(found, l.Attrs().Name)
		}
	}
	return found, nil
}

// patience is how long a device of a container that has ended may have its addresses on the parent: the kernel takes its time over
// the end of a namespace.
const patience = time.Second

// Attach gives the namespace a device on the parent, with its addresses and default routes.
func (d Parent) Attach(n *Namespace, p Port) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.MTU = p.Inside, d.index, p.MTU
	attrs.Namespace = netlink.NsFd(n.File.Fd())
	var device netlink.Link
	if d.SharesMAC() {
		device = &netlink.IPVlan{LinkAttrs: attrs, Mode: ipvlanModes[d.kind.Mode], Flag: ipvlanFlags[d.kind.Flag]}
	} else {
		attrs.HardwareAddr = p.MAC
		device = &netlink.Macvlan{LinkAttrs: attrs, Mode: macvlanModes[d.kind.Mode]}
	}
	err := netlink.LinkAdd(device)
	switch {
	case errors.Is(err, unix.EBUSY):
		return errdefs.ErrConflict.WithMessage(fmt.Sprintf("parent %s cannot have a device of %s: it is a port of a bridge, or has devices of another kind or mode", d.Name, d.kind.Driver))
	case err != nil:
		return fmt.Errorf("make device %s on %s: %w", p.Inside, d.Name, withoutKind(err, device))
	}
	link, err := n.handle.LinkByName(p.Inside)
	if err == nil {
		err = d.configure(n, link, p)
	}
	if err != nil {
		if link != nil {
			n.handle.LinkDel(link)
		}
		return fmt.Errorf("set up device %s on %s: %w", p.Inside, d.Name, err)
	}
	return nil
}

func (d Parent) configure(n *Namespace, link netlink.Link, p Port) error {
	if p.IPv6() {
		if err := n.allowIPv6(p.Inside); err != nil {
			return err
		}
	}
	if err := again(func() error { return n.handle.LinkSetUp(link) }); err != nil {
		return err
	}
	if d.SharesMAC() { // all share one hardware address, and none has what IPv6 would make of it
		p.MAC = nil
	}
	return again(func() error { return n.address(link, p) })
}

// again repeats what fails because somebody who is going has the address still.
func again(do func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := do()
		if !errors.Is(err, unix.EADDRINUSE) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// RemoveDevice removes the device of the namespace that has one of the addresses. An absent one is no error.
func (n *Namespace) RemoveDevice(addresses []netip.Addr) error {
	for _, a := range addresses {
		family := netlink.FAMILY_V4
		if a.Is6() {
			family = netlink.FAMILY_V6
		}
		all, err := whole(func() ([]netlink.Addr, error) { return n.handle.AddrList(nil, family) })
		if err != nil {
			return fmt.Errorf("list addresses in network namespace: %w", err)
		}
		for _, have := range all {
			if !have.IP.Equal(a.AsSlice()) {
				continue
			}
			err := n.handle.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: have.LinkIndex}})
			if err != nil && !isAbsent(err) {
				return fmt.Errorf("remove device with address %s: %w", a, err)
			}
			return nil
		}
	}
	return nil
}
