package network

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/miekg/dns"
	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/network/bridge"
)

// serve6 is serve for IPv6.
func serve6(t testing.TB, ns *os.File, port int) {
	t.Helper()
	serveOn(t, ns, "tcp6", port)
}

func serveOn(t testing.TB, ns *os.File, network string, port int) {
	t.Helper()
	acceptOn(t, ns, network, port, func(c net.Conn) {
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		fmt.Fprintln(c, host)
		c.Close()
	})
}

// acceptOn hands connections to a port inside the namespace over, one after another, until the test ends.
func acceptOn(t testing.TB, ns *os.File, network string, port int, serve func(net.Conn)) {
	t.Helper()
	inside(t, ns, func() {
		l, err := net.Listen(network, fmt.Sprintf(":%d", port))
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				serve(c)
			}
		}()
	})
}

// ask6 is ask for IPv6.
func ask6(address netip.Addr, port int) string { return ask6For(dialTime, address, port) }

func ask6For(patience time.Duration, address netip.Addr, port int) string {
	c, err := net.DialTimeout("tcp6", netip.AddrPortFrom(address, uint16(port)).String(), patience)
	if err != nil {
		return "error: " + err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(dialTime))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return "error: " + err.Error()
	}
	return strings.TrimSpace(line)
}

func ask6From(t testing.TB, ns *os.File, address netip.Addr, port int) (answer string) {
	inside(t, ns, func() { answer = ask6(address, port) })
	return answer
}

// shut6From is ask6From where nobody is to answer.
func shut6From(t testing.TB, ns *os.File, address netip.Addr, port int) (answer string) {
	inside(t, ns, func() { answer = ask6For(shutTime, address, port) })
	return answer
}

// dual has a network made with IPv6 on a subnet of this test's; nth makes them differ.
func dual(nth int) func(*nt.CreateRequest) {
	return func(r *nt.CreateRequest) {
		yes := true
		r.EnableIPv6 = &yes
		r.IPAM.Config = append(r.IPAM.Config, nt.IPAMConfig{Subnet: subnet6(nth)})
	}
}

func subnet6(nth int) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("fd%02x:%x:%x::/64", nth, os.Getpid()>>16, os.Getpid()&0xffff))
}

// nth6 is the nth address of the subnet.
func nth6(subnet, n int) netip.Addr {
	a := subnet6(subnet).Addr().As16()
	a[15] = byte(n)
	return netip.AddrFrom16(a)
}

func sysctlIn(t *testing.T, ns *os.File, name string) (value string) {
	t.Helper()
	inside(t, ns, func() {
		text, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name)
		if err != nil {
			t.Error(err)
		}
		value = strings.TrimSpace(string(text))
	})
	return value
}

// TestNetworkWithIPv6: without a subnet it has one of the engine's own, and its containers can be spoken to at once.
func TestNetworkWithIPv6(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, func(r *nt.CreateRequest) { yes := true; r.EnableIPv6 = &yes })
	in.makeNet(t, "old", 1, nil)
	a, b := in.join(t, "a", on("a", "n")), in.join(t, "b", on("b", "n"))
	n, err := in.Inspect("n")
	if err != nil || !n.EnableIPv6 || !n.EnableIPv4 || len(n.IPAM.Config) != 2 {
		t.Fatalf("%v %+v", err, n)
	}
	c := n.IPAM.Config[1]
	if pool := in.pools(true)[0]; !pool.Base.Contains(c.Subnet.Addr()) || c.Subnet.Bits() != 64 || c.Gateway != c.Subnet.Addr().Next() {
		t.Errorf("%+v is not from %v", c, pool)
	}
	e, other := b.Endpoints["n"], a.Endpoints["n"]
	if !c.Subnet.Contains(e.GlobalIPv6Address) || e.IPv6Gateway != c.Gateway || e.GlobalIPv6PrefixLen != 64 || e.GlobalIPv6Address == other.GlobalIPv6Address {
		t.Errorf("%+v", e)
	}
	if got := n.Containers["b"].IPv6Address; got != netip.PrefixFrom(e.GlobalIPv6Address, 64) {
		t.Errorf("inspect shows %s", got)
	}
	serve6(t, b.NetNS, 80)
	if got := ask6From(t, a.NetNS, e.GlobalIPv6Address, 80); got != other.GlobalIPv6Address.String() {
		t.Errorf("container to container: %s", got)
	}
	if got := ask6(e.GlobalIPv6Address, 80); got != c.Gateway.String() {
		t.Errorf("host to container: %s", got)
	}
	if got := ask6From(t, b.NetNS, netip.IPv6Loopback(), 80); got != "::1" {
		t.Errorf("container to its loopback: %s", got)
	}
	ll := bridge.LinkLocal(net.HardwareAddr(e.MacAddress)).WithZone("eth0")
	if got := ask6From(t, a.NetNS, ll, 80); fails(got) {
		t.Errorf("by the link-local address: %s", got)
	}
	for name, want := range map[string]string{"disable_ipv6": "0", "accept_ra": "0", "accept_dad": "0"} {
		if got := sysctlIn(t, a.NetNS, "eth0/"+name); got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
	addresses, _ := in.Lookup("a", "b")
	if len(addresses) != 2 || addresses[0] != e.IPAddress || addresses[1] != e.GlobalIPv6Address {
		t.Errorf("b is at %v", addresses)
	}
	if name, ok := in.Reverse("a", e.GlobalIPv6Address); !ok || name != "b.n" {
		t.Errorf("at b's address is %q", name)
	}
	// Where there is none, there is none.
	old := in.join(t, "o", on("o", "old"))
	if got := sysctlIn(t, old.NetNS, "eth0/disable_ipv6"); got != "1" || old.Endpoints["old"].GlobalIPv6Address.IsValid() {
		t.Errorf("IPv6 on a network without: %s %+v", got, old.Endpoints["old"])
	}
	box, err := in.Connect(context.Background(), "o", "n", Request{Networks: on("o", "old", "n").Networks, NetNS: old.NetNS})
	if err != nil {
		t.Fatal(err)
	}
	if got := ask6From(t, old.NetNS, e.GlobalIPv6Address, 80); got != box.Endpoints["n"].GlobalIPv6Address.String() {
		t.Errorf("after it was connected: %s, %+v", got, box.Endpoints["n"])
	}
	if _, err := in.Disconnect(context.Background(), "o", "n", Request{Networks: on("o", "old").Networks, NetNS: old.NetNS}); err != nil {
		t.Fatal(err)
	}
	if got := shut6From(t, old.NetNS, e.GlobalIPv6Address, 80); !fails(got) {
		t.Errorf("after it was disconnected: %s", got)
	}
}

// TestNetworkOfIPv6Alone: there is no IPv4, and a restart of the engine changes nothing.
func TestNetworkOfIPv6Alone(t *testing.T) {
	in := start(t, testConfig(t, 0))
	no := false
	in.makeNet(t, "n", 0, func(r *nt.CreateRequest) { dual(0)(r); r.EnableIPv4 = &no })
	n, err := in.Inspect("n")
	if err != nil || n.EnableIPv4 || !n.EnableIPv6 || len(n.IPAM.Config) != 1 || n.IPAM.Config[0].Subnet != subnet6(0) {
		t.Fatalf("%v %+v", err, n)
	}
	a, b := in.join(t, "a", on("a", "n")), in.join(t, "b", on("b", "n"))
	if e := a.Endpoints["n"]; e.IPAddress.IsValid() || e.Gateway.IsValid() || e.IPPrefixLen != 0 || e.GlobalIPv6Address != nth6(0, 2) {
		t.Errorf("%+v", e)
	}
	serve6(t, b.NetNS, 80)
	other := b.Endpoints["n"].GlobalIPv6Address
	if got := ask6From(t, a.NetNS, other, 80); got != nth6(0, 2).String() {
		t.Errorf("container to container: %s", got)
	}
	if addresses, known := in.Lookup("a", "b"); !known || len(addresses) != 1 {
		t.Errorf("b is at %v", addresses)
	}
	in.crash()
	in.open(t)
	for id, box := range map[string]*Sandbox{"a": a, "b": b} {
		if err := in.Restore(id, *box, on(id, "n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Sweep(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * look)
	if got := ask6From(t, a.NetNS, other, 80); got != nth6(0, 2).String() {
		t.Errorf("after a restart: %s", got)
	}
	c := in.join(t, "c", on("c", "n"))
	if got := c.Endpoints["n"].GlobalIPv6Address; got == nth6(0, 2) || got == other || !subnet6(0).Contains(got) {
		t.Errorf("after a restart the next one is at %s", got)
	}
	found, err := in.Check(context.Background(), false)
	if err != nil || len(found.Faults) != 0 {
		t.Errorf("check: %v %+v", err, found.Faults)
	}
}

// TestIPv6AddressesOnesOwn: what is asked for is given or refused, what one had last is kept.
func TestIPv6AddressesOnesOwn(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, dual(0))
	in.makeNet(t, "free", 1, func(r *nt.CreateRequest) { yes := true; r.EnableIPv6 = &yes })
	want := func(id, network string, c nt.EndpointIPAMConfig) (*Sandbox, error) {
		r := on(id, network)
		r.Networks[network].IPAMConfig = &c
		r.Networks[network].MacAddress = nt.HardwareAddr{2, 7, 7, 7, 7, id[0]}
		box, err := in.Join(context.Background(), id, r)
		if err == nil {
			t.Cleanup(func() { box.NetNS.Close(); in.leave(id) })
		}
		return box, err
	}
	for round, one := range []int{2, 3, 9} { // those that are ready are asked for, too
		box, err := want(fmt.Sprint("a", round), "n", nt.EndpointIPAMConfig{IPv6Address: nth6(0, one)})
		if err != nil || box.Endpoints["n"].GlobalIPv6Address != nth6(0, one) || box.Endpoints["n"].MacAddress[5] != 'a' {
			t.Fatalf("%v %+v", err, box)
		}
	}
	crossed := nt.EndpointIPAMConfig{IPv4Address: userSubnet(0).Addr().Next().Next().Next().Next(), IPv6Address: nth6(0, 5)}
	if box, err := want("x", "n", crossed); err != nil || box.Endpoints["n"].IPAddress != crossed.IPv4Address || box.Endpoints["n"].GlobalIPv6Address != crossed.IPv6Address {
		t.Fatalf("%v %+v", err, box)
	}
	for _, tc := range []struct {
		network, want string
		c             nt.EndpointIPAMConfig
	}{
		{"n", "Address already in use", nt.EndpointIPAMConfig{IPv6Address: nth6(0, 9)}},
		{"n", "no configured subnet contains", nt.EndpointIPAMConfig{IPv6Address: nth6(1, 9)}},
		{"free", "only when connecting to networks with user configured subnets", nt.EndpointIPAMConfig{IPv6Address: nth6(1, 9)}},
	} {
		if _, err := want("b", tc.network, tc.c); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
	box := in.join(t, "s", on("s", "n"))
	had := box.Endpoints["n"].GlobalIPv6Address
	box.NetNS.Close()
	in.Leave("s")
	for i := range 3 {
		if got := in.join(t, fmt.Sprint("t", i), on("t", "n")).Endpoints["n"].GlobalIPv6Address; got == had {
			t.Errorf("the address of one that stopped went to another")
		}
	}
	if got := in.join(t, "s", on("s", "n")).Endpoints["n"].GlobalIPv6Address; got != had {
		t.Errorf("came back with %s, had %s", got, had)
	}
}

func TestLinkLocalAddresses(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, dual(0))
	in.makeNet(t, "old", 1, nil)
	four, six := netip.MustParseAddr("169.254.7.7"), netip.MustParseAddr("fe80::77")
	r := on("a", "n")
	r.Networks["n"].IPAMConfig = &nt.EndpointIPAMConfig{LinkLocalIPs: []netip.Addr{four, six}}
	a, b := in.join(t, "a", r), in.join(t, "b", on("b", "n"))
	serve6(t, a.NetNS, 80)
	serve(t, a.NetNS, 81)
	if got := ask6From(t, b.NetNS, six.WithZone("eth0"), 80); fails(got) {
		t.Errorf("by the IPv6 link-local address: %s", got)
	}
	inside(t, b.NetNS, func() {
		link, err := netlink.LinkByName("eth0")
		if err == nil {
			err = netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: &net.IPNet{IP: four.AsSlice(), Mask: net.CIDRMask(32, 32)}})
		}
		if err != nil {
			t.Error(err)
		}
	})
	if got := askFrom(t, b.NetNS, four.String()+":81"); fails(got) {
		t.Errorf("by the IPv4 link-local address: %s", got)
	}
	on2 := on("b", "n", "old")
	on2.Networks["old"].IPAMConfig = &nt.EndpointIPAMConfig{LinkLocalIPs: []netip.Addr{six}}
	on2.NetNS = b.NetNS
	if _, err := in.Connect(context.Background(), "b", "old", on2); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a link-local IPv6 address without IPv6: %v", err)
	}
	on2.Networks["old"].IPAMConfig.LinkLocalIPs = []netip.Addr{netip.MustParseAddr("169.254.8.8")}
	if _, err := in.Connect(context.Background(), "b", "old", on2); err != nil {
		t.Errorf("a link-local IPv4 address: %v", err)
	}
	on2.Networks["old"].IPAMConfig.LinkLocalIPs = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	if err := in.Validate(on2); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "invalid link-local IP address: 10.0.0.1") {
		t.Errorf("an address that is not: %v", err)
	}
}

// say sends an ICMPv6 message to all nodes of the link, as a neighbour or a router would.
func say(t *testing.T, ns *os.File, message []byte) {
	t.Helper()
	inside(t, ns, func() {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			t.Error(err)
			return
		}
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		to := &unix.SockaddrInet6{ZoneId: uint32(link.Attrs().Index), Addr: [16]byte{0: 0xff, 1: 2, 15: 1}}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
			t.Error(err)
		}
		if err := unix.Sendto(fd, message, 0, to); err != nil {
			t.Error(err)
		}
	})
}

// TestNobodyPassesForAnotherOfIPv6: neither by the source of packets nor by what is said of addresses and routers.
func TestNobodyPassesForAnotherOfIPv6(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, dual(0))
	server, honest, thief := in.join(t, "s", on("s", "n")), in.join(t, "h", on("h", "n")), in.join(t, "t", on("t", "n"))
	serve6(t, server.NetNS, 80)
	serve6(t, honest.NetNS, 80)
	serve6(t, thief.NetNS, 80)
	address, victim := server.Endpoints["n"].GlobalIPv6Address, honest.Endpoints["n"].GlobalIPv6Address
	for _, box := range []*Sandbox{honest, thief} {
		if got := ask6From(t, box.NetNS, address, 80); got != box.Endpoints["n"].GlobalIPv6Address.String() {
			t.Errorf("as itself: %s", got)
		}
	}
	if got := ask6From(t, server.NetNS, victim, 80); fails(got) {
		t.Errorf("before: %s", got)
	}
	// An advertisement of the victim's address at the thief's hardware address.
	advertisement := append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, victim.AsSlice()...)
	say(t, thief.NetNS, append(append(advertisement, 2, 1), thief.Endpoints["n"].MacAddress...))
	inside(t, server.NetNS, func() {
		neighbours, err := netlink.NeighList(0, netlink.FAMILY_V6)
		if err != nil {
			t.Error(err)
		}
		for _, n := range neighbours {
			if n.IP.Equal(victim.AsSlice()) && n.HardwareAddr.String() != honest.Endpoints["n"].MacAddress.String() {
				t.Errorf("the victim's address is at %s", n.HardwareAddr)
			}
		}
	})
	// A router that is none, to one that would listen.
	inside(t, honest.NetNS, func() {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/eth0/accept_ra", []byte("2"), 0); err != nil {
			t.Error(err)
		}
	})
	router := []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}
	prefix := append([]byte{3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0}, netip.MustParseAddr("2001:db8:bad::").AsSlice()...)
	say(t, thief.NetNS, append(router, prefix...))
	time.Sleep(100 * time.Millisecond)
	inside(t, honest.NetNS, func() {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V6)
		if err != nil {
			t.Error(err)
		}
		for _, r := range routes {
			if r.Protocol == unix.RTPROT_RA || r.Dst != nil && strings.HasPrefix(r.Dst.String(), "2001:db8:bad") {
				t.Errorf("a container made itself a router: %s", r)
			}
		}
	})
	// The victim's address itself.
	inside(t, thief.NetNS, func() {
		link, err := netlink.LinkByName("eth0")
		if err == nil {
			own, _ := netlink.ParseAddr(thief.Endpoints["n"].GlobalIPv6Address.String() + "/64")
			err = netlink.AddrDel(link, own)
		}
		if err == nil {
			taken, _ := netlink.ParseAddr(victim.String() + "/64")
			taken.Flags = unix.IFA_F_NODAD
			err = netlink.AddrAdd(link, taken)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if got := shut6From(t, thief.NetNS, address, 80); !fails(got) {
		t.Errorf("with another's address: %s", got)
	}
	if got := ask6From(t, honest.NetNS, address, 80); fails(got) {
		t.Errorf("the honest one, afterwards: %s", got)
	}
}

// TestNameServersOfIPv6: a server that the user names is asked by IPv6, from where the container has it, else from the host; and a
// container of IPv6 alone finds its neighbours like any other.
func TestNameServersOfIPv6(t *testing.T) {
	in := start(t, testConfig(t, 0))
	no := false
	in.makeNet(t, "n", 0, func(r *nt.CreateRequest) { dual(0)(r); r.EnableIPv4 = &no })
	in.makeNet(t, "old", 1, nil)
	server := in.join(t, "server", on("server", "n"))
	at := server.Endpoints["n"].GlobalIPv6Address
	inside(t, server.NetNS, func() {
		packets, err := net.ListenPacket("udp6", "[::]:53")
		if err != nil {
			t.Error(err)
			return
		}
		s := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			m.Answer = append(m.Answer, &dns.AAAA{
				Hdr:  dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET, Ttl: 1},
				AAAA: net.ParseIP("2001:db8::77"),
			})
			w.WriteMsg(m)
		})}
		go s.ActivateAndServe()
		t.Cleanup(func() { s.Shutdown() })
	})
	for _, network := range []string{"n", "old"} {
		req := on("asker-"+network, network)
		req.Resolv.Servers = []netip.Addr{at}
		box := in.join(t, network, req)
		for name, want := range map[string]string{"elsewhere.example.": "2001:db8::77", "server.": at.String()} {
			if network == "old" && name == "server." {
				continue // it is on another network
			}
			var answer *dns.Msg
			var err error
			for range 3 {
				inside(t, box.NetNS, func() {
					c := dns.Client{Timeout: 2 * time.Second}
					answer, _, err = c.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeAAAA), "127.0.0.11:53")
				})
				if err == nil {
					break
				}
			}
			if err != nil || len(answer.Answer) != 1 || answer.Answer[0].(*dns.AAAA).AAAA.String() != want {
				t.Errorf("%s from %s: %v %v", name, network, err, answer)
			}
		}
	}
}
