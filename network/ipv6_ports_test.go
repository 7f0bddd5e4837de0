package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/nftables"
	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/network/bridge"

	"github.com/cove-containers/cove/network/option"
)

// outside6 makes a namespace that stands for the world of IPv6, reached by the host alone; host is the host's address there.
func outside6(t *testing.T, cfg Config) (ns *bridge.Namespace, host, world netip.Addr) {
	t.Helper()
	ns, err := bridge.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	name := "cw" + cfg.Mark
	out := subnet6(0x98)
	host, world = nth6(0x98, 1), nth6(0x98, 2)
	device, err := bridge.Ensure(bridge.Wish{Name: name, Addresses: []netip.Prefix{netip.PrefixFrom(host, out.Bits())}, MTU: 1400})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close(); bridge.Remove(name) })
	p := bridge.Port{Name: "cx" + cfg.Mark, Inside: "eth0", MTU: 1400, Addresses: []netip.Prefix{netip.PrefixFrom(world, out.Bits())}, MAC: []byte{2, 0, 0, 0, 0, 9}}
	if err := device.Attach(ns, p); err != nil {
		t.Fatal(err)
	}
	if err := ns.Announce(p, false); err != nil {
		t.Fatal(err)
	}
	return ns, host, world
}

// routeFrom gives a namespace a route by the host.
func routeFrom(t *testing.T, ns *bridge.Namespace, to netip.Prefix, by netip.Addr) {
	t.Helper()
	inside(t, ns.File, func() {
		link, err := netlink.LinkByName("eth0")
		if err == nil {
			_, dst, _ := net.ParseCIDR(to.String())
			err = netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Gw: by.AsSlice()})
		}
		if err != nil {
			t.Error(err)
		}
	})
}

func TestIPv6ToTheWorld(t *testing.T) {
	cfg := testConfig(t, 0)
	in := start(t, cfg)
	in.makeNet(t, "n", 0, dual(0))
	in.makeNet(t, "o", 1, dual(1))
	in.makeNet(t, "inner", 2, func(r *nt.CreateRequest) { dual(2)(r); r.Internal = true })
	in.makeNet(t, "shown", 3, func(r *nt.CreateRequest) {
		dual(3)(r)
		r.Options = map[string]string{option.Masquerade: "false"}
	})
	in.makeNet(t, "alone", 4, func(r *nt.CreateRequest) { dual(4)(r); r.Options = map[string]string{option.ICC: "false"} })
	ns, host, world := outside6(t, cfg)
	serve6(t, ns.File, 8000)
	box := map[string]*Sandbox{}
	for _, network := range []string{"n", "o", "inner", "shown"} {
		box[network] = in.join(t, network, on(network, network))
		serve6(t, box[network].NetNS, 80)
	}
	at := func(network string) netip.Addr { return box[network].Endpoints[network].GlobalIPv6Address }
	if got := ask6From(t, box["n"].NetNS, world, 8000); got != host.String() {
		t.Errorf("the world sees %s, want the host's address %s", got, host)
	}
	routeFrom(t, ns, subnet6(3), host)
	if got := ask6From(t, box["shown"].NetNS, world, 8000); got != at("shown").String() {
		t.Errorf("without masquerade the world sees %s", got)
	}
	routeFrom(t, ns, subnet6(0), host)
	for _, network := range []string{"n", "shown"} {
		if got := shut6From(t, ns.File, at(network), 80); !fails(got) {
			t.Errorf("the world reaches a port of %s that is not published: %s", network, got)
		}
	}
	for _, to := range []string{"o", "inner", "shown"} {
		if got := shut6From(t, box["n"].NetNS, at(to), 80); !fails(got) {
			t.Errorf("from n to %s: %s", to, got)
		}
	}
	if got := shut6From(t, box["inner"].NetNS, world, 8000); !fails(got) || strings.Contains(got, "timeout") {
		t.Errorf("a closed network to the world, which is to be refused at once: %s", got)
	}
	if e := box["inner"].Endpoints["inner"]; e.IPv6Gateway.IsValid() {
		t.Errorf("a closed network leads to %s", e.IPv6Gateway)
	}
	one, two := in.join(t, "one", on("one", "alone")), in.join(t, "two", on("two", "alone"))
	serve6(t, two.NetNS, 80)
	other := two.Endpoints["alone"].GlobalIPv6Address
	if got := shut6From(t, one.NetNS, other, 80); !fails(got) {
		t.Errorf("kept apart: %s", got)
	}
	if got := ask6(other, 80); fails(got) {
		t.Errorf("kept apart, the host to it: %s", got)
	}
	if got := ask6From(t, one.NetNS, world, 8000); got != host.String() {
		t.Errorf("kept apart, to the world: %s", got)
	}
}

// TestIPv6Ports: a published port is reached by both families, from everywhere, and whoever connects is who the container sees.
func TestIPv6Ports(t *testing.T) {
	cfg := testConfig(t, 0)
	in := start(t, cfg)
	in.makeNet(t, "n", 0, func(r *nt.CreateRequest) { dual(0)(r); r.Options = map[string]string{option.Masquerade: "false"} })
	in.makeNet(t, "o", 1, dual(1))
	ns, host, world := outside6(t, cfg)
	req := on("web", "n")
	req.Ports = nt.PortMap{
		port("80/tcp"): {{}},
		port("81/tcp"): {{HostIP: netip.IPv6Loopback()}},
		port("82/tcp"): {{HostIP: host}},
	}
	web := in.join(t, "web", req)
	serve6(t, web.NetNS, 80)
	serve6(t, web.NetNS, 81)
	serve6(t, web.NetNS, 82)
	other := in.join(t, "other", on("other", "o"))
	neighbour := in.join(t, "neighbour", on("neighbour", "n"))
	shown := web.Ports[port("80/tcp")]
	if len(shown) != 2 || shown[0].HostIP != netip.IPv4Unspecified() || shown[1].HostIP != netip.IPv6Unspecified() || shown[0].HostPort != shown[1].HostPort {
		t.Fatalf("%+v", web.Ports)
	}
	var number, loop, named int
	fmt.Sscan(shown[0].HostPort, &number)
	fmt.Sscan(web.Ports[port("81/tcp")][0].HostPort, &loop)
	fmt.Sscan(web.Ports[port("82/tcp")][0].HostPort, &named)
	serve(t, web.NetNS, 80)
	gateway4 := userSubnet(0).Addr().Next()
	gateway := nth6(0, 1)
	check := func(when string) {
		t.Helper()
		for who, one := range map[string]struct {
			ask  func() string
			want netip.Addr
		}{
			"the world":                        {func() string { return ask6From(t, ns.File, host, number) }, world},
			"the world, to one address":        {func() string { return ask6From(t, ns.File, host, named) }, world},
			"the host, by ::1":                 {func() string { return ask6(netip.IPv6Loopback(), number) }, gateway},
			"the host, by ::1 alone":           {func() string { return ask6(netip.IPv6Loopback(), loop) }, gateway},
			"the host, by its address":         {func() string { return ask6(host, number) }, host},
			"another network":                  {func() string { return ask6From(t, other.NetNS, host, number) }, gateway},
			"the container itself":             {func() string { return ask6From(t, web.NetNS, host, number) }, gateway},
			"its neighbour":                    {func() string { return ask6From(t, neighbour.NetNS, host, number) }, gateway},
			"its neighbour, by the gateway":    {func() string { return ask6From(t, neighbour.NetNS, gateway, number) }, gateway},
			"its neighbour, IPv4":              {func() string { return askFrom(t, neighbour.NetNS, fmt.Sprint(gateway4, ":", number)) }, gateway4},
			"the host, by 127.0.0.1":           {func() string { return ask(fmt.Sprint("127.0.0.1:", number)) }, gateway4},
			"the host, to the container's own": {func() string { return ask6(web.Endpoints["n"].GlobalIPv6Address, 80) }, gateway},
		} {
			got := one.ask()
			for range 4 { // a busy machine may take longer than who asks waits
				if got == one.want.String() {
					break
				}
				got = one.ask()
			}
			if got != one.want.String() {
				t.Errorf("%s: %s is answered %q, want %s", when, who, got, one.want)
			}
		}
		if got := shut6From(t, ns.File, host, loop); !fails(got) {
			t.Errorf("%s: the world reaches a port of the loopback: %s", when, got)
		}
	}
	check("at first")
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	conn.FlushTable(&nftables.Table{Name: cfg.TableName(), Family: nftables.TableFamilyIPv6})
	conn.DelTable(&nftables.Table{Name: cfg.TableName(), Family: nftables.TableFamilyIPv6})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); !in.table.Present() && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	check("after the table was deleted")
	in.crash()
	if got := ask6From(t, ns.File, host, number); got != world.String() {
		t.Errorf("without an engine: %s", got)
	}
	in.open(t)
	for id, one := range map[string]struct {
		*Sandbox
		Request
	}{"web": {web, req}, "other": {other, on("other", "o")}, "neighbour": {neighbour, on("neighbour", "n")}} {
		if err := in.Restore(id, *one.Sandbox, one.Request); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Sweep(); err != nil {
		t.Fatal(err)
	}
	check("after a restart")
	if _, err := net.Listen("tcp6", fmt.Sprintf("[::]:%d", number)); err == nil {
		t.Error("a program of the host can have a port that is published")
	}
	found, err := in.Check(context.Background(), false)
	if err != nil || len(found.Faults) != 0 {
		t.Errorf("check: %v %+v", err, found.Faults)
	}
	web.NetNS.Close()
	in.Leave("web")
	if got := shut6From(t, ns.File, host, number); !fails(got) {
		t.Errorf("after the container left: %s", got)
	}
}

// TestIPv6OnAParent: a container on a device of the host has IPv6 there, with the router of that network.
func TestIPv6OnAParent(t *testing.T) {
	cfg := testConfig(t, 0)
	if !inOwnNamespace(t) {
		return
	}
	far := wire(t)
	router := nth6(0, 1)
	inside(t, far.File, func() {
		link, err := netlink.LinkByName("far0")
		if err == nil {
			err = os.WriteFile("/proc/sys/net/ipv6/conf/far0/disable_ipv6", []byte("0"), 0)
		}
		if err == nil {
			a, _ := netlink.ParseAddr(router.String() + "/64")
			a.Flags = unix.IFA_F_NODAD
			err = netlink.AddrAdd(link, a)
		}
		if err != nil {
			t.Error(err)
		}
	})
	serve6(t, far.File, 8006)
	in := start(t, cfg)
	for _, driver := range []string{"macvlan", "ipvlan"} {
		req := parentNet(driver, "192.0.2.0/24", "192.0.2.1", map[string]string{"parent": "lan0"})
		dual(0)(&req)
		_, err := in.Create(context.Background(), req)
		var a, b *Sandbox
		if err == nil {
			if a, err = in.Join(context.Background(), "a", on("a", "n")); err == nil {
				b, err = in.Join(context.Background(), "b", on("b", "n"))
			} else {
				in.Remove(context.Background(), "n")
			}
		}
		if errdefs.IsNotImplemented(err) {
			t.Logf("%s: %v", driver, err)
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", driver, err)
		}
		e := b.Endpoints["n"]
		if e.IPv6Gateway != router || !subnet6(0).Contains(e.GlobalIPv6Address) || e.GlobalIPv6PrefixLen != 64 {
			t.Errorf("%s: %+v", driver, e)
		}
		serve6(t, b.NetNS, 80)
		for what, ask := range map[string]func() string{
			"to the router":   func() string { return ask6From(t, b.NetNS, router, 8006) },
			"to the other":    func() string { return ask6From(t, a.NetNS, e.GlobalIPv6Address, 80) },
			"from the router": func() string { return ask6From(t, far.File, e.GlobalIPv6Address, 80) },
		} {
			got := ask()
			for range 4 {
				if !fails(got) {
					break
				}
				got = ask()
			}
			if fails(got) {
				t.Errorf("%s: %s: %s", driver, what, got)
			}
		}
		for id, box := range map[string]*Sandbox{"a": a, "b": b} {
			in.Leave(id)
			box.NetNS.Close()
		}
		if err := in.Remove(context.Background(), "n"); err != nil {
			t.Error(err)
		}
	}
}

// TestFamiliesHaveWaysOfTheirOwn: the default route, and with it published ports, of each family is by a network that has it.
func TestFamiliesHaveWaysOfTheirOwn(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "a", 0, nil)
	in.makeNet(t, "n", 1, dual(1))
	in.makeNet(t, "z", 2, dual(2))
	req := on("c", "a", "z", "n")
	req.Ports = nt.PortMap{port("80/tcp"): {{}}}
	box := in.join(t, "c", req)
	m := in.members["c"]
	if m.carrier != "a" || m.carrier6 != "n" || len(box.Ports[port("80/tcp")]) != 2 {
		t.Fatalf("by %q and %q, %+v", m.carrier, m.carrier6, box.Ports)
	}
	serve6(t, box.NetNS, 80)
	var number int
	fmt.Sscan(box.Ports[port("80/tcp")][0].HostPort, &number)
	gateways := func() (found []string) {
		inside(t, box.NetNS, func() {
			for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
				routes, err := netlink.RouteList(nil, family)
				if err != nil {
					t.Error(err)
				}
				for _, r := range routes {
					if r.Dst == nil || r.Dst.IP.IsUnspecified() {
						found = append(found, r.Gw.String())
					}
				}
			}
		})
		return found
	}
	four := userSubnet(0).Addr().Next().String()
	if got := gateways(); len(got) != 2 || got[0] != four || got[1] != nth6(1, 1).String() {
		t.Errorf("routes by %v", got)
	}
	if got := ask6(netip.IPv6Loopback(), number); got != nth6(1, 1).String() {
		t.Errorf("by ::1: %s", got)
	}
	without := on("c", "a", "z")
	without.Ports, without.NetNS = req.Ports, box.NetNS
	left, err := in.Disconnect(context.Background(), "c", "n", without)
	if err != nil {
		t.Fatal(err)
	}
	if got := gateways(); len(got) != 2 || got[0] != four || got[1] != nth6(2, 1).String() {
		t.Errorf("after it left, routes by %v", got)
	}
	fmt.Sscan(left.Ports[port("80/tcp")][0].HostPort, &number)
	if got := ask6(netip.IPv6Loopback(), number); got != nth6(2, 1).String() {
		t.Errorf("after it left, by ::1: %s", got)
	}
	without.Networks = on("c", "a").Networks
	if left, err = in.Disconnect(context.Background(), "c", "z", without); err != nil {
		t.Fatal(err)
	}
	fmt.Sscan(left.Ports[port("80/tcp")][0].HostPort, &number)
	serve(t, box.NetNS, 80)
	if got := ask6(netip.IPv6Loopback(), number); got != four {
		t.Errorf("without IPv6, by ::1, which is relayed: %s", got)
	}
	if got := gateways(); len(got) != 1 || got[0] != four {
		t.Errorf("without IPv6, routes by %v", got)
	}
}
