package network

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"

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
	ports := nt.PortMap{port("80/tcp"): {{}}, port("90/tcp"): {{}}, port("91/tcp"): {{}}}
	web := in.join(t, "web", Request{Name: "web", Ports: ports})
	shy := in.join(t, "shy", Request{Name: "shy", Ports: nt.PortMap{port("80/tcp"): {{}}}, Annotations: map[string]string{"cove.publish-from": "203.0.113.0/24"}})
	other := in.join(t, "other", Request{Name: "other"})
	others, webs := nearAddress(t, other.NetNS, "eth0", ""), nearAddress(t, web.NetNS, "eth0", "")
	for _, box := range []*Sandbox{web, shy} {
		serveOn(t, box.NetNS, "tcp", 80)
	}
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
