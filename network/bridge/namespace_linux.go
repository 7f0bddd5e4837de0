package bridge

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace that nothing but File and its sockets keeps alive: it is gone with the last of
// them and the last process in it. It is mounted nowhere.
type Namespace struct {
	File   *os.File
	handle *netlink.Handle // speaks rtnetlink inside
}

// NewNamespace makes a network namespace with its loopback up and IPv6 off for devices that come later.
func NewNamespace() (*Namespace, error) {
	type made struct {
		ns  *Namespace
		err error
	}
	done := make(chan made)
	go func() {
		// The goroutine has the thread to itself. If the thread cannot be brought back to the host's namespace it
		// stays locked, and the Go runtime ends it with the goroutine.
		runtime.LockOSThread()
		ns, back, err := newNamespace()
		if back {
			runtime.UnlockOSThread()
		}
		done <- made{ns, err}
	}()
	m := <-done
	return m.ns, m.err
}

// newNamespace needs a thread of its own; back tells that it is in its old namespace again.
func newNamespace() (ns *Namespace, back bool, err error) {
	host, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, true, fmt.Errorf("open the host's network namespace: %w", err)
	}
	defer host.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, true, fmt.Errorf("make network namespace: %w", err)
	}
	ns, err = enterNew()
	if e := unix.Setns(int(host.Fd()), unix.CLONE_NEWNET); e != nil {
		if err == nil {
			ns.Close()
			err = fmt.Errorf("go back to the host's network namespace: %w", e)
		}
		return nil, false, err
	}
	return ns, true, err
}

// enterNew sets up the namespace the thread is in.
func enterNew() (*Namespace, error) {
	if err := setSysctl("ipv6/conf/default/disable_ipv6", "1"); err != nil {
		return nil, err
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink in network namespace: %w", err)
	}
	// The loopback device is always the first.
	if err := handle.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1, Name: "lo"}}); err != nil {
		handle.Close()
		return nil, fmt.Errorf("set loopback up: %w", err)
	}
	file, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	return &Namespace{File: file, handle: handle}, nil
}

// Furnish sets up a namespace that somebody else has made, as NewNamespace leaves one. File is the caller's until it succeeds.
func Furnish(file *os.File) (ns *Namespace, err error) {
	err = Within(file, func() error {
		ns, err = enterNew()
		return err
	})
	if err != nil {
		return nil, err
	}
	ns.File.Close()
	ns.File = file
	return ns, nil
}

// EnterNamespace opens a namespace that is in use, to change it. File is the caller's and stays open.
func EnterNamespace(file *os.File) (*Namespace, error) {
	inside, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at network namespace: %w", err)
	}
	// Found by the number of a process that is gone, it could be anybody's; to change the host's own would be the worst.
	if own, err := os.Stat("/proc/thread-self/ns/net"); err == nil && os.SameFile(inside, own) {
		return nil, errors.New("the container's network namespace is the host's")
	}
	handle, err := netlink.NewHandleAt(netns.NsHandle(file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink in network namespace: %w", err)
	}
	return &Namespace{File: file, handle: handle}, nil
}

// Close lets go of the namespace.
func (n *Namespace) Close() error {
	n.Seal()
	return n.File.Close()
}

// Seal closes what was needed to set the namespace up; File stays open.
func (n *Namespace) Seal() {
	if n.handle != nil {
		n.handle.Close()
		n.handle = nil
	}
}

// Within runs fn on a thread that is in the namespace, for sockets that are to belong to it.
func Within(ns *os.File, fn func() error) error {
	done := make(chan error)
	go func() {
		// As in NewNamespace: a thread that cannot be brought back ends with the goroutine.
		runtime.LockOSThread()
		err, back := within(ns, fn)
		if back {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

func within(ns *os.File, fn func() error) (err error, back bool) {
	host, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("open the host's network namespace: %w", err), true
	}
	defer host.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err), true
	}
	err = fn()
	if e := unix.Setns(int(host.Fd()), unix.CLONE_NEWNET); e != nil {
		return errors.Join(err, fmt.Errorf("go back to the host's network namespace: %w", e)), false
	}
	return err, true
}

// Duplicate gives a descriptor of its own for a namespace.
func Duplicate(ns *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(ns.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate network namespace: %w", err)
	}
	return os.NewFile(uintptr(fd), ns.Name()), nil
}

// FreeName is the first of the names prefix0, prefix1, … that no device of the namespace has.
func (n *Namespace) FreeName(prefix string) (string, error) {
	links, err := whole(n.handle.LinkList)
	if err != nil {
		return "", fmt.Errorf("list devices in network namespace: %w", err)
	}
	for i := 0; ; i++ {
		name := prefix + strconv.Itoa(i)
		if !slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Attrs().Name == name }) {
			return name, nil
		}
	}
}

// Set writes settings below /proc/sys/net of the namespace, in whose names IFNAME stands for the device. One that the kernel has not is
// errdefs.ErrInvalidArgument.
func (n *Namespace) Set(inside string, settings map[string]string) error {
	if len(settings) == 0 {
		return nil
	}
	return Within(n.File, func() error {
		for _, name := range slices.Sorted(maps.Keys(settings)) {
			path := filepath.Join("/proc/sys/net", strings.ReplaceAll(name, "IFNAME", inside))
			if err := os.WriteFile(path, []byte(settings[name]), 0); err != nil {
				return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("set net/%s of an endpoint: %v", name, err))
			}
		}
		return nil
	})
}

// SetGateways has the default routes lead to the gateways, which are of either family and by the devices that have their subnets, and
// no longer to those that were before. One that stays is not touched, nor are default routes that the container made itself, unless one of
// these is in the way.
func (n *Namespace) SetGateways(before, now []netip.Addr) error {
	for _, old := range before {
		if slices.Contains(now, old) {
			continue
		}
		if err := n.leaveGateway(old); err != nil {
			return err
		}
	}
	for _, gateway := range now {
		if slices.Contains(before, gateway) {
			continue
		}
		route := &netlink.Route{Gw: gateway.AsSlice()}
		err := n.handle.RouteAdd(route)
		if errors.Is(err, unix.EEXIST) {
			err = n.handle.RouteReplace(route)
		}
		if err != nil {
			return fmt.Errorf("route by %s: %w", gateway, err)
		}
	}
	return nil
}

// leaveGateway removes the default routes by a gateway.
func (n *Namespace) leaveGateway(gateway netip.Addr) error {
	routes, err := whole(func() ([]netlink.Route, error) { return n.handle.RouteList(nil, int(inetFamily(gateway))) })
	if err != nil {
		return fmt.Errorf("read routes of network namespace: %w", err)
	}
	for _, r := range routes {
		if !isDefault(r) || addressOf(r.Gw) != gateway {
			continue
		}
		if err := n.handle.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove default route: %w", err)
		}
	}
	return nil
}

// Port is a device of a namespace on a bridge.
type Port struct {
	// Name is the end on the host, Inside the one in the namespace.
	Name, Inside string
	MTU          int
	// Addresses are those of the one inside, LinkLocal further ones that are its own on this link alone.
	Addresses []netip.Prefix
	LinkLocal []netip.Addr
	MAC       net.HardwareAddr
	// Gateways are where the default routes lead.
	Gateways []netip.Addr
	// Alias is written on the end on the host.
	Alias string
	// Routes tells that it sends what is from others, for which it routes.
	Routes bool
	// Apart keeps it from talking to the bridge's other ports of this kind. Gate is instead the only hardware address that it may send to.
	Apart bool
	Gate  net.HardwareAddr
}

// Sends are the addresses that the one inside may send as.
func (p Port) Sends() []netip.Addr {
	all := slices.Clone(p.LinkLocal)
	for _, a := range p.Addresses {
		all = append(all, a.Addr())
	}
	if p.IPv6() {
		all = append(all, LinkLocal(p.MAC))
	}
	return all
}

// Attach gives the namespace a device connected to the bridge, with its addresses and default routes. Both ends are made
// by one message, the inner one where it belongs: moving it there costs thirty times as much.
func (d Device) Attach(n *Namespace, p Port) error {
	if err := p.mayHave(p.LinkLocal); err != nil {
		return err
	}
	err := d.createPair(n, p)
	if errors.Is(err, unix.EEXIST) {
		// What an earlier daemon had at this address: the kernel takes its time over the end of a namespace.
		if err = RemovePort(p.Name); err == nil {
			err = d.createPair(n, p)
		}
	}
	if errors.Is(err, unix.EEXIST) {
		err = errdefs.ErrInvalidArgument.WithMessage("the container has a device called " + p.Inside + " already")
	}
	if err != nil {
		return fmt.Errorf("make device %s on %s: %w", p.Name, d.Name, err)
	}
	if err := d.configure(n, p); err != nil {
		RemovePort(p.Name)
		return err
	}
	return nil
}

func (d Device) createPair(n *Namespace, p Port) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(p.Name)))
	req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(p.MTU))))
	req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(d.Index))))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(p.Inside))
	peer.AddRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(p.MTU)))
	peer.AddRtAttr(unix.IFLA_ADDRESS, p.MAC)
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(n.File.Fd())))
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func (d Device) configure(n *Namespace, p Port) error {
	if err := setSysctl("ipv6/conf/"+p.Name+"/disable_ipv6", "1"); err != nil {
		return err
	}
	outer := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: indexOf(p.Name), Name: p.Name}}
	if p.Alias != "" {
		if err := netlink.LinkSetAlias(outer, p.Alias); err != nil {
			return fmt.Errorf("mark device %s: %w", p.Name, err)
		}
	}
	if err := netlink.LinkSetUp(outer); err != nil {
		return fmt.Errorf("set device %s up: %w", p.Name, err)
	}
	if p.Apart {
		if err := netlink.LinkSetIsolated(outer, true); err != nil {
			return fmt.Errorf("set device %s apart: %w", p.Name, err)
		}
	}
	link, err := n.handle.LinkByName(p.Inside)
	if err != nil {
		return fmt.Errorf("find %s in network namespace: %w", p.Inside, err)
	}
	if p.IPv6() {
		if err := n.allowIPv6(p.Inside); err != nil {
			return err
		}
	}
	if err := n.handle.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up in network namespace: %w", p.Inside, err)
	}
	if err := n.address(link, p); err != nil {
		return err
	}
	settle(outer.Index)
	settle(d.Index) // a bridge has a carrier from its first port on, and drops everything before
	return nil
}

// address gives the device in the namespace its addresses and routes.
func (n *Namespace) address(link netlink.Link, p Port) error {
	all := slices.Clone(p.Addresses)
	if own := LinkLocal(p.MAC); p.IPv6() && own.IsValid() {
		all = append(all, netip.PrefixFrom(own, linkBits6))
	}
	if err := n.give(link, append(all, ofLink(p.LinkLocal)...)); err != nil {
		return err
	}
	for _, gateway := range p.Gateways {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice()}
		if err := n.handle.RouteAdd(route); err != nil {
			return fmt.Errorf("route by %s: %w", gateway, err)
		}
	}
	return nil
}

// give gives a device addresses. One that it has already is no error.
func (n *Namespace) give(link netlink.Link, all []netip.Prefix) error {
	for _, a := range all {
		if err := n.handle.AddrAdd(link, address(a)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("give %s the address %s: %w", link.Attrs().Name, a, err)
		}
	}
	return nil
}

// ofLink are link-local addresses with how long their prefixes are.
func ofLink(addresses []netip.Addr) (all []netip.Prefix) {
	for _, a := range addresses {
		bits := linkBits4
		if a.Is6() {
			bits = linkBits6
		}
		all = append(all, netip.PrefixFrom(a, bits))
	}
	return all
}

// GiveLinkLocal gives a device of the namespace further addresses that hold on its link alone. One of IPv6 where the
// device has none is errdefs.ErrInvalidArgument.
func (n *Namespace) GiveLinkLocal(p Port, addresses []netip.Addr) error {
	if err := p.mayHave(addresses); err != nil {
		return err
	}
	link, err := n.handle.LinkByName(p.Inside)
	if err != nil {
		return fmt.Errorf("find %s in network namespace: %w", p.Inside, err)
	}
	return n.give(link, ofLink(addresses))
}

func (p Port) mayHave(linkLocal []netip.Addr) error {
	if !p.IPv6() && slices.ContainsFunc(linkLocal, netip.Addr.Is6) {
		return errdefs.ErrInvalidArgument.WithMessage("a link-local IPv6 address needs a network with IPv6")
	}
	return nil
}

// settle waits until the kernel has taken notice that the device has a carrier. Before, the bridge drops what comes
// by it, and a container that speaks at once waits a second for its lost ARP request. Asking for the device makes new
// kernels take notice there and then.
func settle(index int) {
	for range 50 {
		link, err := netlink.LinkByIndex(index)
		if err != nil || link.Attrs().OperState == netlink.OperUp {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// SetMAC changes the hardware address of a device of the namespace, and with it the address that IPv6 makes from it.
func (n *Namespace) SetMAC(p Port, mac net.HardwareAddr) error {
	link, err := n.handle.LinkByName(p.Inside)
	if err == nil {
		err = n.handle.LinkSetHardwareAddr(link, mac)
	}
	if before, after := LinkLocal(p.MAC), LinkLocal(mac); err == nil && p.IPv6() && before != after {
		if err = n.handle.AddrDel(link, address(netip.PrefixFrom(before, linkBits6))); err == nil || errors.Is(err, unix.EADDRNOTAVAIL) {
			err = n.handle.AddrAdd(link, address(netip.PrefixFrom(after, linkBits6)))
		}
	}
	if err != nil {
		return fmt.Errorf("set hardware address %s: %w", mac, err)
	}
	return nil
}

// address is one of a device as the kernel is told of it. Who has which address is decided by the engine, so none is
// asked for on the link before it can be used, as IPv6 does.
func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().IsLinkLocalUnicast() {
		a.Scope = int(netlink.SCOPE_LINK)
	}
	if six(p) {
		a.Flags = unix.IFA_F_NODAD
		return a
	}
	if p.Bits() > linkOfTwo { // both addresses are of hosts
		return a
	}
	a.Broadcast = slices.Clone(a.IP)
	for i := range a.Broadcast {
		a.Broadcast[i] |= ^a.Mask[i]
	}
	return a
}
