package network

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"

	"github.com/cove-containers/cove/network/option"
)

// TestRouters: a container that routes for others is heard where the network or its endpoint lets it, and nowhere else.
func TestRouters(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "strict", 1, nil)
	in.makeNet(t, "open", 2, func(r *nt.CreateRequest) { r.Options = map[string]string{option.Routing: "true"} })
	for _, c := range []struct {
		what, network string
		options       map[string]string
		heard         bool
	}{
		{"without the option", "strict", nil, false},
		{"by the endpoint", "strict", map[string]string{option.Routing: "true"}, true},
		{"by the network", "open", nil, true},
	} {
		req := on("router", c.network)
		req.Networks[c.network].DriverOpts = c.options
		router, peer := in.join(t, "router", req), in.join(t, "peer", on("peer", c.network))
		serve(t, peer.NetNS, 80)
		const behind = "203.0.113.7"
		inside(t, router.NetNS, func() {
			lo, err := netlink.LinkByName("lo")
			if err == nil {
				a, _ := netlink.ParseAddr(behind + "/32")
				err = netlink.AddrAdd(lo, a)
			}
			if err == nil { // as a router does: it asks for its neighbours as itself
				err = os.WriteFile("/proc/sys/net/ipv4/conf/all/arp_announce", []byte("2"), 0)
			}
			if err != nil {
				t.Error(err)
			}
		})
		inside(t, peer.NetNS, func() {
			_, to, _ := net.ParseCIDR(behind + "/32")
			if err := netlink.RouteAdd(&netlink.Route{Dst: to, Gw: router.Endpoints[c.network].IPAddress.AsSlice()}); err != nil {
				t.Error(err)
			}
		})
		got := ""
		inside(t, router.NetNS, func() { got = askAs(behind, peer.Endpoints[c.network].IPAddress.String()+":80") })
		if heard := got == behind; heard != c.heard {
			t.Errorf("%s: %s", c.what, got)
		}
		if c.heard { // and after a daemon that was killed
			in.crash()
			in.open(t)
			for id, box := range map[string]*Sandbox{"router": router, "peer": peer} {
				if err := in.Restore(id, *box, req); err != nil {
					t.Error(err)
				}
			}
			if err := in.Sweep(); err != nil {
				t.Error(err)
			}
			inside(t, router.NetNS, func() { got = askAs(behind, peer.Endpoints[c.network].IPAddress.String()+":80") })
			if got != behind {
				t.Errorf("%s, after a crash: %s", c.what, got)
			}
		}
		in.Leave("router")
		in.Leave("peer")
	}
}

// TestEndpointOptions: the device's name and its settings are what was asked for, at the start and on a connect.
func TestEndpointOptions(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 1, nil)
	in.makeNet(t, "o", 2, nil)
	options := func(name, value string) map[string]string {
		return map[string]string{"com.docker.network.endpoint.ifname": name, "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=" + value}
	}
	req := on("a", "n")
	req.Networks["n"].DriverOpts = options("lan0", "1")
	box := in.join(t, "a", req)
	req.NetNS = box.NetNS
	req.Networks["o"] = &nt.EndpointSettings{DriverOpts: options("wan0", "1")}
	if _, err := in.Connect(context.Background(), "a", "o", req); err != nil {
		t.Fatal(err)
	}
	inside(t, box.NetNS, func() {
		for _, name := range []string{"lan0", "wan0"} {
			if text, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + name + "/log_martians"); err != nil || strings.TrimSpace(string(text)) != "1" {
				t.Errorf("%s: %q %v", name, text, err)
			}
		}
	})
	in.makeNet(t, "p", 3, nil)
	for why, wrong := range map[string]map[string]string{
		"has a device called wan0 already": options("wan0", "1"), "has a device called lo already": options("lo", "1"),
		"log_martians": options("x0", "many"), "cove.network.x": {"cove.network.x": "y"},
	} {
		req.Networks["p"] = &nt.EndpointSettings{DriverOpts: wrong}
		if _, err := in.Connect(context.Background(), "a", "p", req); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v: %v", wrong, err)
		}
	}
	if got := in.faults(t); got != "" {
		t.Error(got)
	}
}

// TestForcedOff: a container whose namespace cannot be entered is taken off all the same where that is forced.
func TestForcedOff(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 1, nil)
	box := in.join(t, "a", on("a", "n"))
	wrong, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer wrong.Close()
	req := on("a", "n")
	req.NetNS = wrong
	if _, err := in.Disconnect(context.Background(), "a", "n", req); err == nil {
		t.Error("the host's own namespace was taken for the container's")
	}
	req.Force = true
	if _, err := in.Disconnect(context.Background(), "a", "n", req); err != nil {
		t.Errorf("forced: %v", err)
	}
	if n, err := in.Inspect("n"); err != nil || len(n.Containers) != 0 {
		t.Errorf("%v %v", n.Containers, err)
	}
	box.NetNS.Close()
}

// askAs is ask from an address.
func askAs(from, to string) string {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)), Timeout: dialTime}
	return askBy(d, to)
}
