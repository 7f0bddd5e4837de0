package bridge

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// How long the prefixes of addresses are that hold on one link.
const (
	linkBits4 = 16
	linkBits6 = 64
	linkOfTwo = 30 // what is longer has no address for all
)

func six(p netip.Prefix) bool { return p.Addr().Is6() }

// IPv6 tells whether the device has this family.
func (p Port) IPv6() bool { return slices.ContainsFunc(p.Addresses, six) }

// LinkLocal is the address that IPv6 makes from a hardware address for the link (RFC 4291, appendix A).
func LinkLocal(mac net.HardwareAddr) netip.Addr {
	if len(mac) != 6 {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

// preferIPv6 turns IPv6 on for a bridge of ours, or off: without it nothing answers there, no address of the host's that
// containers could reach. Nobody on the bridge tells the host what its addresses and routes are.
func preferIPv6(name string, on bool) error {
	if !on {
		return setSysctl("ipv6/conf/"+name+"/disable_ipv6", "1")
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		return errdefs.ErrFailedPrecondition.WithMessage("this host has no IPv6: it was switched off when the kernel was started")
	}
	return setAll("ipv6/conf/"+name+"/", "accept_ra", "0", "accept_dad", "0", "disable_ipv6", "0")
}

// allowIPv6 turns IPv6 on for a device of the namespace, which is not up yet. Its addresses are the engine's to give: none
// are made from what others on the link say, nor from its hardware address.
func (n *Namespace) allowIPv6(inside string) error {
	return Within(n.File, func() error {
		return setAll("ipv6/conf/"+inside+"/", "accept_ra", "0", "accept_dad", "0", "addr_gen_mode", "1", "disable_ipv6", "0")
	})
}

// setAll writes settings, given by name and value in turn.
func setAll(prefix string, settings ...string) error {
	for pair := range slices.Chunk(settings, 2) {
		if err := setSysctl(prefix+pair[0], pair[1]); err != nil {
			return err
		}
	}
	return nil
}

// ForwardIPv6 has the host pass packets on between its devices. It changes nothing where that is on already.
//
// A host that forwards does not listen to routers any more, unless told to (accept_ra 2, not 1), and so would lose its own
// addresses and default route: the devices that listen now are told to, and their names returned. Devices that come later
// are left what they would have been, and so are the engine's own, whose names begin with own: nobody there is listened to.
func ForwardIPv6(own string) (raised []string, err error) {
	forwarding.Lock()
	defer forwarding.Unlock()
	if readSysctl("ipv6/conf/all/forwarding") == "1" {
		return nil, nil
	}
	devices, err := os.ReadDir("/proc/sys/net/ipv6/conf")
	if err != nil {
		return nil, fmt.Errorf("read the host's IPv6 settings: %w", err)
	}
	for _, d := range devices {
		name := d.Name()
		if slices.Contains([]string{"all", "default", "lo"}, name) || strings.HasPrefix(name, own) {
			continue
		}
		of := "ipv6/conf/" + name
		if hears(name) && readSysctl(of+"/accept_ra") == "1" && readSysctl(of+"/forwarding") == "0" && readSysctl(of+"/disable_ipv6") == "0" {
			if err := setSysctl(of+"/accept_ra", "2"); err != nil {
				return raised, err
			}
			raised = append(raised, name)
		}
	}
	later := readSysctl("ipv6/conf/default/forwarding") // which goes with that of all
	return raised, setAll("ipv6/conf/", "all/forwarding", "1", "default/forwarding", later)
}

// hears tells whether there can be a router on a device: it speaks to neighbours.
func hears(device string) bool {
	text, err := os.ReadFile("/sys/class/net/" + device + "/flags")
	flags, err2 := strconv.ParseUint(strings.TrimSpace(string(text)), 0, 32)
	return err == nil && err2 == nil && flags&unix.IFF_NOARP == 0
}

// readSysctl is a setting below /proc/sys/net, "" where there is none.
func readSysctl(name string) string {
	text, err := os.ReadFile(filepath.Join("/proc/sys/net", name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// Announce waits until the device of the namespace hears who asks for its IPv6 addresses, which the kernel sees to after it
// gave it the addresses, and tells its neighbours that these are at its hardware address now, and with four the addresses of IPv4 as well: who
// spoke to the last one that had an address would go on sending to nobody for some seconds, and who asked in vain asks again after one.
func (n *Namespace) Announce(p Port, four bool) error {
	var addresses []netip.Addr
	for _, a := range p.Sends() {
		if a.Is6() {
			addresses = append(addresses, a)
		}
	}
	if !four && len(addresses) == 0 {
		return nil
	}
	link, err := n.handle.LinkByName(p.Inside)
	if err != nil {
		return fmt.Errorf("find %s in network namespace: %w", p.Inside, err)
	}
	if four {
		if err := n.announceIPv4(link.Attrs().Index, p); err != nil || len(addresses) == 0 {
			return err
		}
	}
	err = Within(n.File, func() error {
		listening(addresses)
		return advertise(link.Attrs().Index, p.MAC, addresses)
	})
	if err != nil {
		return fmt.Errorf("announce the addresses of %s: %w", p.Inside, err)
	}
	return nil
}

// announceIPv4 has the kernel ask on the link, three times within three seconds, who has the device's own address. Nobody answers, but who
// knows the address by another hardware address learns the new one.
func (n *Namespace) announceIPv4(device int, p Port) error {
	for _, a := range p.Addresses {
		if six(a) {
			continue
		}
		ask := &netlink.Neigh{LinkIndex: device, Family: netlink.FAMILY_V4, Flags: netlink.NTF_USE, IP: a.Addr().AsSlice()}
		if err := n.handle.NeighSet(ask); err != nil {
			return fmt.Errorf("announce the address of %s: %w", p.Inside, err)
		}
	}
	return nil
}

// listening waits until the namespace of the thread is in the groups that questions for the addresses are sent to.
func listening(addresses []netip.Addr) {
	for range 100 {
		text, err := os.ReadFile("/proc/thread-self/net/igmp6")
		missing := slices.ContainsFunc(addresses, func(a netip.Addr) bool {
			b := a.As16()
			return !bytes.Contains(text, fmt.Appendf(nil, "ff0200000000000000000001ff%x", b[13:]))
		})
		if err != nil || !missing {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func advertise(device int, mac net.HardwareAddr, addresses []netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// Neighbours listen only to what cannot have passed a router.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
		return err
	}
	to := &unix.SockaddrInet6{ZoneId: uint32(device), Addr: [16]byte{0: 0xff, 1: 2, 15: 1}}
	for _, a := range addresses {
		if err := unix.Sendto(fd, advertisement(a, mac), 0, to); err != nil {
			return err
		}
	}
	return nil
}

// advertisement is the message that an address is at a hardware address, whatever was said before (RFC 4861, section
// 4.4). The kernel fills in the checksum.
func advertisement(address netip.Addr, mac net.HardwareAddr) []byte {
	const kind, override, option = 136, 0x20, 2
	message := append([]byte{kind, 0, 0, 0, override, 0, 0, 0}, address.AsSlice()...)
	return append(append(message, option, 1), mac...)
}
