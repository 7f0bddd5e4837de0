package network

import (
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// nearAddress gives a device, of the namespace or of the host, a link-local address of the test's own, unless it is "".
func nearAddress(t *testing.T, ns *os.File, device, address string) (index int) {
	t.Helper()
	give := func() {
		link, err := netlink.LinkByName(device)
		if err != nil {
			t.Error(err)
			return
		}
		index = link.Attrs().Index
		if address != "" {
			err = netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(address), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD})
		}
		if err != nil {
			t.Error(err)
		}
	}
	if ns == nil {
		give()
	} else {
		inside(t, ns, give)
	}
	return index
}

// nearAt is a link-local address by the device that leads there, which has a number here: package net believes that a name is the same
// device in all namespaces.
func nearAt(address string, index int) netip.Addr {
	return netip.MustParseAddr(address).WithZone(strconv.Itoa(index))
}

// TestPublishedPortsOnALink: published ports are reached at the host's link-local addresses, by who is on the link, by the host and by containers, where
// they may; other ports are not, and neither is the socket that they are led through.
func TestPublishedPortsOnALink(t *testing.T) {
	cfg := testConfig(t, 0)
	cfg.IPv6, cfg.Range6 = true, netip.PrefixFrom(nth6(0x98, 0), 64)
	in := start(t, cfg)
	w := dualWorld(t, cfg)
	device, here := "cw"+cfg.Mark, "fe80::97:1"
	own, worlds := nearAddress(t, nil, device, here), nearAddress(t, w.ns.File, "eth0", "fe80::97:2")
	bridge := nearAddress(t, nil, cfg.BridgeName(), "fe80::98:1")
	ports := nt.PortMap{port("80/tcp"): {{}}, port("90/tcp"): {{}}, port("91/tcp"): {{}}, port("53/udp"): {{}}}
	web := in.join(t, "web", Request{Name: "web", Ports: ports})
	shy := in.join(t, "shy", Request{Name: "shy", Ports: nt.PortMap{port("80/tcp"): {{}}}, Annotations: map[string]string{"cove.publish-from": "203.0.113.0/24"}})
	other := in.join(t, "other", Request{Name: "other"})
	others, webs := nearAddress(t, other.NetNS, "eth0", ""), nearAddress(t, web.NetNS, "eth0", "")
	for _, box := range []*Sandbox{web, shy} {
		serveOn(t, box.NetNS, "tcp", 80)
	}
	echo6(t, web.NetNS, 53, "udp")
	at := func(box *Sandbox, inside string) int { return int(hostPort(t, box.Ports[port(inside)])) }
	check := func(when string) {
		t.Helper()
		gateway := web.Endpoints["bridge"].IPv6Gateway.String()
		for who, got := range map[string]string{
			"a neighbour of the host":         reach(t, w.ns.File, nearAt(here, worlds), at(web, "80/tcp"), true),
			"the host":                        reach(t, nil, nearAt(here, own), at(web, "80/tcp"), true),
			"the host by its bridge":          reach(t, nil, nearAt("fe80::98:1", bridge), at(web, "80/tcp"), true),
			"another container":               reach(t, other.NetNS, nearAt("fe80::98:1", others), at(web, "80/tcp"), true),
			"the container itself":            reach(t, web.NetNS, nearAt("fe80::98:1", webs), at(web, "80/tcp"), true),
			"the host, who is always let in,": reach(t, nil, nearAt(here, own), at(shy, "80/tcp"), true),
		} {
			if got != gateway {
				t.Errorf("%s: %s: %s, want %s", when, who, got, gateway)
			}
		}
		for who, c := range map[string]net.Conn{
			"a neighbour of the host": dialUDP(t, w.ns.File, nearAt(here, worlds), at(web, "53/udp")), "the host": dialUDP(t, nil, nearAt(here, own), at(web, "53/udp")),
			"another container": dialUDP(t, other.NetNS, nearAt("fe80::98:1", others), at(web, "53/udp")),
		} {
			if got := answered(c); got != "udp" {
				t.Errorf("%s: %s is answered by UDP %q", when, who, got)
			}
			c.Close()
		}
		for what, got := range map[string]string{
			"a port that is not published":    reach(t, w.ns.File, nearAt(here, worlds), 80, false),
			"a port where nobody listens":     reach(t, w.ns.File, nearAt(here, worlds), at(web, "90/tcp"), false),
			"a port that is for others":       reach(t, w.ns.File, nearAt(here, worlds), at(shy, "80/tcp"), false),
			"the socket itself, on the link":  reach(t, w.ns.File, nearAt(here, worlds), int(in.near.Port()), false),
			"the socket itself, from further": reach(t, w.ns.File, w.host[1], int(in.near.Port()), false),
		} {
			if !fails(got) {
				t.Errorf("%s: %s: %s", when, what, got)
			}
		}
	}
	check("at first")
	if got := reach(t, w.ns.File, w.host[1], at(web, "80/tcp"), true); got != w.there[1].String() {
		t.Errorf("who comes from further is seen as %s", got)
	}
	in.flush(t)
	check("after the table was emptied")
	in.near.Close()
	in.crash()
	in.open(t)
	for id, box := range map[string]*Sandbox{"web": web, "shy": shy, "other": other} {
		req := Request{Name: id}
		if id == "shy" {
			req.Annotations = map[string]string{"cove.publish-from": "203.0.113.0/24"}
		}
		if err := in.Restore(id, *box, req); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Sweep(); err != nil {
		t.Fatal(err)
	}
	check("after the engine was killed")
}

// TestRelayedPorts: a container that has IPv4 alone is reached at the host's addresses of IPv6, by TCP, from where it may be; what was begun ends
// with the publication.
func TestRelayedPorts(t *testing.T) {
	cfg := testConfig(t, 0)
	in := start(t, cfg)
	w := dualWorld(t, cfg)
	ports := nt.PortMap{
		port("80/tcp"): {{}}, port("81/tcp"): {{HostIP: netip.IPv6Loopback()}}, port("82/tcp"): {{HostIP: w.host[1]}}, port("90/tcp"): {{}}, port("53/udp"): {{}},
	}
	req := Request{Name: "web", Ports: ports}
	web := in.join(t, "web", req)
	limited := Request{Name: "shy", Ports: nt.PortMap{port("80/tcp"): {{}}}, Annotations: map[string]string{"cove.publish-from": "203.0.113.0/24"}}
	shy := in.join(t, "shy", limited)
	for _, number := range []int{80, 81, 82} {
		serveOn(t, web.NetNS, "tcp4", number)
	}
	serveOn(t, shy.NetNS, "tcp4", 80)
	at := func(box *Sandbox, inside string) int { return int(hostPort(t, box.Ports[port(inside)])) }
	shown := web.Ports[port("80/tcp")]
	if len(shown) != 2 || shown[0].HostIP != netip.IPv4Unspecified() || shown[1].HostIP != netip.IPv6Unspecified() || shown[0].HostPort != shown[1].HostPort {
		t.Fatalf("shown as %+v", shown)
	}
	echo(t, web.NetNS, 53, "udp")
	loopback, silent := netip.IPv6Loopback(), at(web, "90/tcp")
	check := func(when string) {
		t.Helper()
		gateway := web.Endpoints["bridge"].Gateway.String()
		for who, one := range map[string][2]string{
			"the world":                       {reach(t, w.ns.File, w.host[1], at(web, "80/tcp"), true), gateway},
			"the world, to one address":       {reach(t, w.ns.File, w.host[1], at(web, "82/tcp"), true), gateway},
			"the host, by ::1":                {reach(t, nil, loopback, at(web, "80/tcp"), true), gateway},
			"the host, by ::1 alone":          {reach(t, nil, loopback, at(web, "81/tcp"), true), gateway},
			"the host, by its address":        {reach(t, nil, w.host[1], at(web, "80/tcp"), true), gateway},
			"the host, who is always let in,": {reach(t, nil, loopback, at(shy, "80/tcp"), true), gateway},
			"the world, by IPv4":              {reach(t, w.ns.File, w.host[0], at(web, "80/tcp"), true), w.there[0].String()},
		} {
			if one[0] != one[1] {
				t.Errorf("%s: %s is answered %q, want %s", when, who, one[0], one[1])
			}
		}
		for who, c := range map[string]net.Conn{
			"the world": dialUDP(t, w.ns.File, w.host[1], at(web, "53/udp")), "the host": dialUDP(t, nil, loopback, at(web, "53/udp")),
			"the host, by its address": dialUDP(t, nil, w.host[1], at(web, "53/udp")),
		} {
			if got := answered(c); got != "udp" {
				t.Errorf("%s: %s is answered by UDP %q", when, who, got)
			}
			c.Close()
		}
		for what, got := range map[string]string{
			"a port of the loopback":          reach(t, w.ns.File, w.host[1], at(web, "81/tcp"), false),
			"a port where nobody listens":     reach(t, nil, loopback, silent, false),
			"a port that is for others":       reach(t, w.ns.File, w.host[1], at(shy, "80/tcp"), false),
			"a port that is not published":    reach(t, w.ns.File, w.host[1], 80, false),
			"the socket itself":               reach(t, nil, loopback, int(in.near.Port()), false),
			"the socket itself, from further": reach(t, w.ns.File, w.host[1], int(in.near.Port()), false),
		} {
			if !fails(got) {
				t.Errorf("%s: %s: %s", when, what, got)
			}
		}
	}
	check("at first")
	if _, err := net.Listen("tcp6", "[::]:"+strconv.Itoa(at(web, "80/tcp"))); err == nil {
		t.Error("a program of the host can have a port that is published")
	}
	in.flush(t)
	check("after the table was emptied")
	in.near.Close()
	in.crash()
	in.open(t)
	for id, one := range map[string]Request{"web": req, "shy": limited} {
		box := map[string]*Sandbox{"web": web, "shy": shy}[id]
		if err := in.Restore(id, *box, one); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Sweep(); err != nil {
		t.Fatal(err)
	}
	check("after the engine was killed")
	if found := in.faults(t); found != "" {
		t.Errorf("check: %s", found)
	}

	acceptOn(t, web.NetNS, "tcp4", 90, func(c net.Conn) { go io.Copy(c, c) })
	open := func(inside string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", netip.AddrPortFrom(loopback, uint16(at(web, inside))).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := echoes(c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	begun := open("90/tcp")
	ports[port("100/tcp")] = []nt.PortBinding{{}}
	now, err := in.Republish("web", req)
	if err != nil {
		t.Fatal(err)
	}
	if err := echoes(begun); err != nil {
		t.Errorf("a connection whose port stays: %v", err)
	}
	web.Ports = now
	delete(ports, port("90/tcp"))
	if now, err = in.Republish("web", req); err != nil {
		t.Fatal(err)
	}
	if err := echoes(begun); err == nil {
		t.Error("a connection goes on whose port is published no more")
	}
	web.Ports = now
	check("when ports have changed")
	number := at(web, "80/tcp")
	in.leave("web")
	if got := reach(t, nil, loopback, number, false); !fails(got) {
		t.Errorf("after the container left: %s", got)
	}
}

// TestRelayedBesideDirect: the container sees what is relayed and what the host sends it by 127.0.0.1 from the same address, and remembers their ports. None
// of them waits because it looks older than another one of its port.
func TestRelayedBesideDirect(t *testing.T) {
	cfg := testConfig(t, 0)
	if !inOwnNamespace(t) {
		return
	}
	settings(t, map[string]string{"ipv4/ip_local_port_range": "40000 40063"})
	in := start(t, cfg)
	web := in.join(t, "web", Request{Name: "web", Ports: nt.PortMap{port("80/tcp"): {{}}}})
	serveOn(t, web.NetNS, "tcp4", 80)
	number, gateway := int(hostPort(t, web.Ports[port("80/tcp")])), web.Endpoints["bridge"].Gateway.String()
	for turn := range 3 {
		for _, to := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
			before := counted(t, "TCPSynRetrans")
			for range 200 {
				c, err := net.Dial("tcp", netip.AddrPortFrom(to, uint16(number)).String())
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(c); string(got) != gateway+"\n" { // to its end: who closes last remembers nothing
					t.Fatalf("by %s: %q, %v", to, got, err)
				}
				c.Close()
			}
			if waited := counted(t, "TCPSynRetrans") - before; waited > 0 {
				t.Errorf("turn %d: %d of 200 connections to %s had to ask again", turn, waited, to)
			}
		}
	}
}

// counted is one of the counters of TCP that the kernel keeps for the namespace of the test.
func counted(t *testing.T, name string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		t.Fatal(err)
	}
	names, values, _ := strings.Cut(string(text), "\n")
	at := slices.Index(strings.Fields(names), name)
	if at < 0 {
		t.Fatalf("the kernel does not count %s", name)
	}
	n, err := strconv.Atoi(strings.Fields(values)[at])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// dialUDP is a client in the namespace, or on the host.
func dialUDP(t *testing.T, ns *os.File, to netip.Addr, port int) (c net.Conn) {
	t.Helper()
	dial := func() {
		var err error
		if c, err = net.Dial("udp", netip.AddrPortFrom(to, uint16(port)).String()); err != nil {
			t.Error(err)
		}
	}
	if ns == nil {
		dial()
	} else {
		inside(t, ns, dial)
	}
	return c
}

// answered is what comes back to a question, which is asked again for as long as nothing does.
func answered(c net.Conn) string {
	b := make([]byte, 100)
	for range 20 {
		c.Write([]byte("?"))
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := c.Read(b); err == nil {
			return string(b[:n])
		}
	}
	return ""
}

// echoes tells whether what is written comes back.
func echoes(c net.Conn) error {
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// hostPort is the port of the host that a binding has.
func hostPort(t *testing.T, all []nt.PortBinding) uint16 {
	t.Helper()
	if len(all) == 0 {
		t.Fatal("a port is not published")
	}
	at, err := netip.ParseAddrPort("127.0.0.1:" + all[0].HostPort)
	if err != nil {
		t.Fatal(err)
	}
	return at.Port()
}
