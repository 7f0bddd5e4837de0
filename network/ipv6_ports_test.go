package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"

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
	if err := ns.Announce(p); err != nil {
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
		if got := ask6From(t, ns.File, at(network), 80); !fails(got) {
			t.Errorf("the world reaches a port of %s that is not published: %s", network, got)
		}
	}
	for _, to := range []string{"o", "inner", "shown"} {
		if got := ask6From(t, box["n"].NetNS, at(to), 80); !fails(got) {
			t.Errorf("from n to %s: %s", to, got)
		}
	}
	began := time.Now()
	if got := ask6From(t, box["inner"].NetNS, world, 8000); !fails(got) || time.Since(began) > 300*time.Millisecond {
		t.Errorf("a closed network to the world, after %s: %s", time.Since(began), got)
	}
	if e := box["inner"].Endpoints["inner"]; e.IPv6Gateway.IsValid() {
		t.Errorf("a closed network leads to %s", e.IPv6Gateway)
	}
	one, two := in.join(t, "one", on("one", "alone")), in.join(t, "two", on("two", "alone"))
	serve6(t, two.NetNS, 80)
	other := two.Endpoints["alone"].GlobalIPv6Address
	if got := ask6From(t, one.NetNS, other, 80); !fails(got) {
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
	in.makeNet(t, "old", 2, nil)
	ns, host, world := outside6(t, cfg)
	req := on("web", "n")
	req.Ports = nt.PortMap{
		port("80/tcp"): {{}},
		port("81/tcp"): {{HostIP: netip.IPv6Loopback()}, {HostIP: host}},
	}
	web := in.join(t, "web", req)
	serve6(t, web.NetNS, 80)
	serve6(t, web.NetNS, 81)
	other := in.join(t, "other", on("other", "o"))
	neighbour := in.join(t, "neighbour", on("neighbour", "n"))
	shown := web.Ports[port("80/tcp")]
	if len(shown) != 2 || shown[0].HostIP != netip.IPv4Unspecified() || shown[1].HostIP != netip.IPv6Unspecified() || shown[0].HostPort != shown[1].HostPort {
		t.Fatalf("%+v", web.Ports)
	}
	var number, loop, named int
	fmt.Sscan(shown[0].HostPort, &number)
	fmt.Sscan(web.Ports[port("81/tcp")][0].HostPort, &loop)
	fmt.Sscan(web.Ports[port("81/tcp")][1].HostPort, &named)
	serve(t, web.NetNS, 79) // so that IPv4 has a server, too
	gateway := nth6(0, 1)
	check := func(when string) {
		t.Helper()
		for who, one := range map[string]struct{ got, want string }{
			"the world":                        {ask6From(t, ns.File, host, number), world.String()},
			"the world, to one address":        {ask6From(t, ns.File, host, named), world.String()},
			"the host, by ::1":                 {ask6(netip.IPv6Loopback(), number), gateway.String()},
			"the host, by ::1 alone":           {ask6(netip.IPv6Loopback(), loop), gateway.String()},
			"the host, by its address":         {ask6(host, number), host.String()},
			"another network":                  {ask6From(t, other.NetNS, host, number), gateway.String()},
			"the container itself":             {ask6From(t, web.NetNS, host, number), gateway.String()},
			"its neighbour":                    {ask6From(t, neighbour.NetNS, host, number), gateway.String()},
			"its neighbour, by the gateway":    {ask6From(t, neighbour.NetNS, gateway, number), gateway.String()},
			"the host, to the container's own": {ask6(web.Endpoints["n"].GlobalIPv6Address, 80), gateway.String()},
		} {
			if one.got != one.want {
				t.Errorf("%s: %s is answered %q, want %q", when, who, one.got, one.want)
			}
		}
		if got := ask6From(t, ns.File, host, loop); !fails(got) {
			t.Errorf("%s: the world reaches a port of the loopback: %s", when, got)
		}
	}
	check("at first")
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	conn.FlushTable(&nftables.Table{Name: cfg.tableName(), Family: nftables.TableFamilyIPv6})
	conn.DelTable(&nftables.Table{Name: cfg.tableName(), Family: nftables.TableFamilyIPv6})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Second); !in.table.Present() && time.Now().Before(deadline); {
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
	if got := ask6From(t, ns.File, host, number); !fails(got) {
		t.Errorf("after the container left: %s", got)
	}
	refused := on("old", "old")
	refused.Ports = nt.PortMap{port("80/tcp"): {{HostIP: netip.IPv6Loopback(), HostPort: "18080"}}}
	if _, err := in.Join(context.Background(), "old", refused); err == nil || !strings.Contains(err.Error(), "port 80/tcp cannot be published on ::1") {
		t.Errorf("on a network without IPv6: %v", err)
	}
	refused.Ports = nt.PortMap{port("80/tcp"): {{}}}
	if got := in.join(t, "old", refused).Ports[port("80/tcp")]; len(got) != 1 || got[0].HostIP != netip.IPv4Unspecified() {
		t.Errorf("on a network without IPv6: %+v", got)
	}
}
