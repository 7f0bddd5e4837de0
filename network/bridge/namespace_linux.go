package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

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

// EnterNamespace opens a namespace that is in use, to change it. File is the caller's and stays open.
func EnterNamespace(file *os.File) (*Namespace, error) {
	inside, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at network namespace: %w", err)
	}
	// Found by the number of a process that is gone, it could be anybody's; to change the host's own would be the worst.
	if own, err := os.Stat("/proc/self/ns/net"); err == nil && os.SameFile(inside, own) {
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

// SetGateway makes gateway, by the device that has its subnet, the namespace's only default route; the zero value
// leaves it without one.
func (n *Namespace) SetGateway(gateway netip.Addr) error {
	routes, err := whole(func() ([]netlink.Route, error) { return n.handle.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("read routes of network namespace: %w", err)
	}
	for _, r := range routes {
		if !isDefault(r) {
			continue
		}
		if err := n.handle.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove default route: %w", err)
		}
	}
	if !gateway.IsValid() {
		return nil
	}
	if err := n.handle.RouteAdd(&netlink.Route{Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("route by %s: %w", gateway, err)
	}
	return nil
}

// Port is a device of a namespace on a bridge.
type Port struct {
	// Name is the end on the host, Inside the one in the namespace.
	Name, Inside string
	MTU          int
	Address      netip.Prefix
	MAC          net.HardwareAddr
	// Gateway is where the default route leads; the zero value makes none.
	Gateway netip.Addr
	// Apart keeps it from talking to the bridge's other ports of this kind.
	Apart bool
}

// Attach gives the namespace a device connected to the bridge, with its address and default route. Both ends are made
// by one message, the inner one where it belongs: moving it there costs thirty times as much.
func (d Device) Attach(n *Namespace, p Port) error {
	err := d.createPair(n, p)
	if errors.Is(err, unix.EEXIST) {
		// What an earlier daemon had at this address: the kernel takes its time over the end of a namespace.
		if err = RemovePort(p.Name); err == nil {
			err = d.createPair(n, p)
		}
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
	if err := n.handle.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up in network namespace: %w", p.Inside, err)
	}
	addr := &netlink.Addr{IPNet: ipNet(p.Address), Broadcast: broadcast(p.Address)}
	if err := n.handle.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("give %s the address %s: %w", p.Inside, p.Address, err)
	}
	if p.Gateway.IsValid() {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: p.Gateway.AsSlice()}
		if err := n.handle.RouteAdd(route); err != nil {
			return fmt.Errorf("route by %s: %w", p.Gateway, err)
		}
	}
	settle(outer.Index)
	settle(d.Index) // a bridge has a carrier from its first port on, and drops everything before
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

// SetMAC changes the hardware address of a device of the namespace.
func (n *Namespace) SetMAC(inside string, mac net.HardwareAddr) error {
	link, err := n.handle.LinkByName(inside)
	if err == nil {
		err = n.handle.LinkSetHardwareAddr(link, mac)
	}
	if err != nil {
		return fmt.Errorf("set hardware address %s: %w", mac, err)
	}
	return nil
}

func broadcast(p netip.Prefix) net.IP {
	ip := net.IP(p.Addr().AsSlice())
	mask := net.CIDRMask(p.Bits(), 32)
	for i := range ip {
		ip[i] |= ^mask[i]
	}
	return ip
}
