package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
)

// defaultRoutes are the gateways of a namespace's default routes of a family.
func defaultRoutes(t *testing.T, box *Sandbox, family int) (all []string) {
	t.Helper()
	inside(t, box.NetNS, func() {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			t.Error(err)
		}
		for _, r := range routes {
			if r.Dst == nil || r.Dst.IP.IsUnspecified() {
				all = append(all, r.Gw.String())
			}
		}
	})
	return all
}

// TestOwnDefaultRoutesStay: a container that has a default route of its own keeps it while it comes to and leaves networks that are not
// its way out, and a route that stays is not made anew.
func TestOwnDefaultRoutesStay(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, dual(0))
	in.makeNet(t, "o", 1, dual(1))
	req := on("a", "n")
	box := in.join(t, "a", req)
	req.NetNS = box.NetNS
	own := map[int]netip.Addr{netlink.FAMILY_V4: userSubnet(0).Addr().Next().Next().Next(), netlink.FAMILY_V6: nth6(0, 9)}
	inside(t, box.NetNS, func() {
		for family, gateway := range own {
			routes, err := netlink.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_DST)
			if err != nil || len(routes) != 1 {
				t.Errorf("%v %v", routes, err)
				return
			}
			if err = netlink.RouteDel(&routes[0]); err == nil {
				err = netlink.RouteAdd(&netlink.Route{Gw: gateway.AsSlice()})
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	check := func(when string) {
		t.Helper()
		for family, gateway := range own {
			if got := defaultRoutes(t, box, family); len(got) != 1 || got[0] != gateway.String() {
				t.Errorf("%s: by %v, want %s", when, got, gateway)
			}
		}
	}
	check("at first")
	req.Networks["o"] = &nt.EndpointSettings{}
	if _, err := in.Connect(context.Background(), "a", "o", req); err != nil {
		t.Fatal(err)
	}
	check("connected")
	delete(req.Networks, "o")
	if _, err := in.Disconnect(context.Background(), "a", "o", req); err != nil {
		t.Fatal(err)
	}
	check("disconnected")
	req.Networks["o"] = &nt.EndpointSettings{GwPriority: 5} // which is to be the way out
	if _, err := in.Connect(context.Background(), "a", "o", req); err != nil {
		t.Fatal(err)
	}
	for family, gateway := range map[int]netip.Addr{netlink.FAMILY_V4: userSubnet(1).Addr().Next(), netlink.FAMILY_V6: nth6(1, 1)} {
		if got := defaultRoutes(t, box, family); len(got) != 1 || got[0] != gateway.String() {
			t.Errorf("by a network of a higher priority: %v, want %s", got, gateway)
		}
	}
}

// TestRefusedConnectOfIPv6: a container of IPv6 alone goes on to be reached where a connect that would have moved its ports failed.
func TestRefusedConnectOfIPv6(t *testing.T) {
	in := start(t, testConfig(t, 0))
	no := false
	in.makeNet(t, "n", 0, func(r *nt.CreateRequest) { dual(0)(r); r.EnableIPv4 = &no })
	in.makeNet(t, "o", 1, nil)
	req := on("a", "n")
	req.Ports = nt.PortMap{port("80/tcp"): {{HostIP: netip.IPv6Loopback()}}}
	box := in.join(t, "a", req)
	serve6(t, box.NetNS, 80)
	var number int
	fmt.Sscan(box.Ports[port("80/tcp")][0].HostPort, &number)
	if got := reach(t, nil, netip.IPv6Loopback(), number, true); fails(got) {
		t.Fatalf("at first: %s", got)
	}
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	req.NetNS = box.NetNS
	req.Networks["o"] = &nt.EndpointSettings{}
	_, at, _ := net.SplitHostPort(taken.Addr().String())
	req.Ports[port("81/tcp")] = []nt.PortBinding{{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: at}}
	if _, err := in.Connect(context.Background(), "a", "o", req); err == nil {
		t.Fatal("a port that a program has was published")
	}
	if got := reach(t, nil, netip.IPv6Loopback(), number, true); fails(got) {
		t.Errorf("after a connect that failed: %s", got)
	}
	if got := in.faults(t); got != "" {
		t.Error(got)
	}
}
