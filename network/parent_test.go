package network

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"

	"github.com/cove-containers/cove/network/bridge"
)

// wire makes a device "lan0" of this namespace whose other end, with VLAN 50 on it, is in a namespace that stands for the
// network there: with a router at 192.0.2.1, and at 198.51.100.1 on the VLAN.
func wire(t *testing.T) *bridge.Namespace {
	t.Helper()
	far, err := bridge.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "lan0"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Errorf("wire: %v", err)
		}
	}
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far0", PeerNamespace: netlink.NsFd(far.File.Fd())}))
	link, err := netlink.LinkByName("lan0")
	must(err)
	must(netlink.LinkSetUp(link))
	inside(t, far.File, func() {
		far0, err := netlink.LinkByName("far0")
		must(err)
		must(netlink.LinkSetUp(far0))
		tagged := netlink.NewLinkAttrs()
		tagged.Name, tagged.ParentIndex = "far0.50", far0.Attrs().Index
		vlan := &netlink.Vlan{LinkAttrs: tagged, VlanId: 50}
		addresses := map[netlink.Link]string{far0: "192.0.2.1/24"}
		if netlink.LinkAdd(vlan) == nil { // where the kernel has them
			must(netlink.LinkSetUp(vlan))
			addresses[vlan] = "198.51.100.1/24"
		}
		for device, address := range addresses {
			a, _ := netlink.ParseAddr(address)
			must(netlink.AddrAdd(device, a))
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	serve(t, far.File, 8000)
	return far
}

func parentNet(driver, subnet, gateway string, options map[string]string) nt.CreateRequest {
	c := nt.IPAMConfig{Subnet: netip.MustParsePrefix(subnet)}
	if gateway != "" {
		c.Gateway = netip.MustParseAddr(gateway)
	}
	return nt.CreateRequest{Name: "n", Driver: driver, Options: options, IPAM: &nt.IPAM{Config: []nt.IPAMConfig{c}}}
}

func TestNetworksOnAParent(t *testing.T) {
	cfg := testConfig(t, 0)
	if !inOwnNamespace(t) {
		return
	}
	wire(t)
	in := start(t, cfg)
	ctx := context.Background()
	for _, c := range []struct{ driver, parent, subnet, router, more string }{
		{"macvlan", "lan0", "192.0.2.0/24", "192.0.2.1", ""},
		{"macvlan", "lan0.50", "198.51.100.0/24", "198.51.100.1", ""},
		{"ipvlan", "lan0", "192.0.2.0/24", "192.0.2.1", "l2"},
		{"ipvlan", "lan0.50", "198.51.100.0/24", "198.51.100.1", "l3"},
	} {
		what := strings.Join([]string{c.driver, c.parent, c.more}, " ")
		options := map[string]string{"parent": c.parent}
		if c.more != "" {
			options["ipvlan_mode"] = c.more
		}
		_, err := in.Create(ctx, parentNet(c.driver, c.subnet, c.router, options))
		if err == nil {
			var box *Sandbox
			if box, err = in.Join(ctx, "first", on("first", "n")); err == nil {
				in.Leave("first")
				box.NetNS.Close()
			} else if err2 := in.Remove(ctx, "n"); err2 != nil {
				t.Error(err2)
			}
		}
		if errdefs.IsNotImplemented(err) {
			t.Run(what, func(t *testing.T) { t.Skip(err) })
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		again := parentNet(c.driver, "203.0.113.0/24", "", options)
		again.Name = "again"
		if _, err := in.Create(ctx, again); err == nil || !strings.Contains(err.Error(), "is already using parent interface") {
			t.Errorf("%s: the same parent twice: %v", what, err)
		}
		for range 3 { // addresses are to be had again at once
			a, b := in.join(t, "a", on("a", "n")), in.join(t, "b", on("b", "n"))
			serve(t, b.NetNS, 80)
			at := b.Endpoints["n"].IPAddress.String()
			if got := askFrom(t, a.NetNS, at+":80"); got != a.Endpoints["n"].IPAddress.String() {
				t.Errorf("%s: to a neighbour: %s", what, got)
			}
			if c.more != "l3" { // where the router would need a route back
				if got := askFrom(t, a.NetNS, c.router+":8000"); got != a.Endpoints["n"].IPAddress.String() {
					t.Errorf("%s: to the router: %s", what, got)
				}
			}
			if found, known := in.Lookup("a", "b"); !known || len(found) != 1 || found[0].String() != at {
				t.Errorf("%s: b is at %v", what, found)
			}
			inside(t, a.NetNS, func() {
				routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
				if err != nil || !slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Gw.Equal(net.ParseIP(c.router)) }) {
					t.Errorf("%s: routes %v %v", what, routes, err)
				}
			})
			for id, box := range map[string]*Sandbox{"a": a, "b": b} {
				in.Leave(id)
				box.NetNS.Close()
			}
		}
		// A container that runs goes there and comes back; what is published stays with the other network.
		box := in.join(t, "c", on("c", "bridge"))
		req := on("c", "bridge", "n")
		req.NetNS = box.NetNS
		now, err := in.Connect(ctx, "c", "n", req)
		if err != nil || !now.Endpoints["n"].IPAddress.IsValid() {
			t.Fatalf("%s: connect: %v", what, err)
		}
		in.crash()
		in.open(t)
		now.NetNS = box.NetNS
		if err := in.Restore("c", *now, req); err != nil {
			t.Errorf("%s: restore: %v", what, err)
		}
		if err := in.Sweep(); err != nil {
			t.Error(err)
		}
		if got := in.faults(t); got != "" {
			t.Errorf("%s: %s", what, got)
		}
		if c.more != "l3" {
			if got := askFrom(t, box.NetNS, c.router+":8000"); fails(got) {
				t.Errorf("%s: connected while it runs: %s", what, got)
			}
		}
		if err := in.Remove(ctx, "n"); err == nil {
			t.Errorf("%s: a network in use was removed", what)
		}
		if _, err := in.Disconnect(ctx, "c", "n", req); err != nil {
			t.Errorf("%s: disconnect: %v", what, err)
		}
		if got := shutFrom(t, box.NetNS, c.router+":8000"); !fails(got) {
			t.Errorf("%s: after it left: %s", what, got)
		}
		in.Leave("c")
		box.NetNS.Close()
		if err := in.Remove(ctx, "n"); err != nil {
			t.Errorf("%s: remove: %v", what, err)
		}
		if bridge.Exists("lan0.50") || !bridge.Exists("lan0") {
			t.Errorf("%s: what it made is there, or what it did not make is gone", what)
		}
	}
}

func TestParentsThatCannotBe(t *testing.T) {
	cfg := testConfig(t, 0)
	if !inOwnNamespace(t) {
		return
	}
	wire(t)
	in := start(t, cfg)
	ctx := context.Background()
	for parent, want := range map[string]string{
		"lan1": "the host has no device lan1", "lan1.5": "the host has no device lan1", "lan0.5000": "no name of a VLAN", "lan0.x": "no name of a VLAN",
	} {
		if _, err := in.Create(ctx, parentNet("macvlan", "192.0.2.0/24", "", map[string]string{"parent": parent})); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", parent, err)
		}
	}
	// Without a parent it leads nowhere: containers talk to one another alone.
	_, err := in.Create(ctx, parentNet("macvlan", "203.0.113.0/24", "", nil))
	if errdefs.IsNotImplemented(err) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n, err := in.Inspect("n"); err != nil || !n.Internal || n.Driver != "macvlan" {
		t.Errorf("%+v %v", n, err)
	}
	a, b := in.join(t, "a", on("a", "n")), in.join(t, "b", on("b", "n"))
	serve(t, b.NetNS, 80)
	if got := askFrom(t, a.NetNS, b.Endpoints["n"].IPAddress.String()+":80"); fails(got) {
		t.Errorf("to a neighbour: %s", got)
	}
	inside(t, a.NetNS, func() {
		if routes, err := netlink.RouteList(nil, netlink.FAMILY_V4); err != nil || len(routes) != 1 {
			t.Errorf("routes %v %v", routes, err)
		}
	})
	// What is asked of an ipvlan that it cannot give.
	if _, err := in.Create(ctx, func() nt.CreateRequest {
		r := parentNet("ipvlan", "192.0.2.0/24", "192.0.2.1", map[string]string{"parent": "lan0"})
		r.Name = "ip"
		return r
	}()); err != nil {
		t.Fatal(err)
	}
	req := on("c", "ip")
	req.Networks["ip"].MacAddress = nt.HardwareAddr{2, 0, 0, 0, 0, 7}
	if _, err := in.Join(ctx, "c", req); err == nil || !strings.Contains(err.Error(), "hardware address of its parent") {
		t.Errorf("a hardware address: %v", err)
	}
}
