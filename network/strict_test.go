package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/option"
)

// settings writes settings of the kernel's below /proc/sys/net in the namespace of the thread.
func settings(t *testing.T, all map[string]string) {
	t.Helper()
	for name, value := range all {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	}
}

// TestStrictHost: on a host that forwards nothing when the engine starts, and drops what comes by another device than it would answer by,
// published ports are reached from everywhere, containers that are kept apart reach one another by them alone, and the world by either family.
func TestStrictHost(t *testing.T) {
	cfg := testConfig(t, 0)
	if !inOwnNamespace(t) {
		return
	}
	settings(t, map[string]string{
		"ipv4/ip_forward": "0", "ipv6/conf/all/forwarding": "0", "ipv4/conf/all/rp_filter": "1", "ipv4/conf/default/rp_filter": "1",
		"ipv4/conf/all/accept_redirects": "0", "ipv4/conf/all/send_redirects": "0",
	})
	in := start(t, cfg)
	w := dualWorld(t, cfg)
	serve(t, w.ns.File, 8000)
	serve6(t, w.ns.File, 8000)
	in.makeNet(t, "apart", 0, func(r *nt.CreateRequest) { dual(0)(r); r.Options = map[string]string{option.ICC: "false"} })
	in.makeNet(t, "o", 1, dual(1))
	req := on("web", "apart")
	req.Ports = nt.PortMap{port("80/tcp"): {{HostPort: "8080"}}}
	web, near, far := in.join(t, "web", req), in.join(t, "near", on("near", "apart")), in.join(t, "far", on("far", "o"))
	for _, number := range []int{80, 81} {
		serve(t, web.NetNS, number)
		serve6(t, web.NetNS, number)
	}
	own := [2]netip.Addr{web.Endpoints["apart"].IPAddress, web.Endpoints["apart"].GlobalIPv6Address}
	loop := [2]netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	check := func(when string) {
		t.Helper()
		for family := range own {
			for _, one := range []struct {
				who  string
				ns   *os.File
				to   netip.Addr
				port int
				want bool
			}{
				{"the host, by its loopback", nil, loop[family], 8080, true},
				{"the host, by its address", nil, w.host[family], 8080, true},
				{"the host, to the container", nil, own[family], 81, true},
				{"the world", w.ns.File, w.host[family], 8080, true},
				{"a neighbour, by the host", near.NetNS, w.host[family], 8080, true},
				{"a neighbour, directly", near.NetNS, own[family], 80, false},
				{"another network, by the host", far.NetNS, w.host[family], 8080, true},
				{"the container itself, by the host", web.NetNS, w.host[family], 8080, true},
				{"out", web.NetNS, w.there[family], 8000, true},
			} {
				if got := reach(t, one.ns, one.to, one.port, one.want); fails(got) == one.want {
					t.Errorf("%s: IPv%d: %s: %s", when, 4+2*family, one.who, got)
				}
			}
		}
	}
	for _, filtered := range []string{"0", "1"} {
		settings(t, map[string]string{"bridge/bridge-nf-call-iptables": filtered, "bridge/bridge-nf-call-ip6tables": filtered})
		check("bridged packets filtered: " + filtered)
	}
	in.crash()
	in.open(t)
	for id, one := range map[string]struct {
		*Sandbox
		Request
	}{"web": {web, req}, "near": {near, on("near", "apart")}, "far": {far, on("far", "o")}} {
		if err := in.Restore(id, *one.Sandbox, one.Request); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Sweep(); err != nil {
		t.Fatal(err)
	}
	check("after a restart")
	in.flush(t)
	check("after the table was deleted")
}

// TestNarrowPath: what a container sends and what it is sent gets through where the way is narrower than its device knows, in both
// directions, by either family, also by a published port.
func TestNarrowPath(t *testing.T) {
	const size, narrow = 300_000, 1290
	cfg := testConfig(t, 0)
	cfg.MTU = 1400
	in := start(t, cfg)
	w := dualWorld(t, cfg)
	in.makeNet(t, "n", 0, dual(0))
	req := on("web", "n")
	req.Ports = nt.PortMap{port("80/tcp"): {{}}}
	web := in.join(t, "web", req)
	link, err := netlink.LinkByName("cw" + cfg.Mark)
	if err == nil {
		err = netlink.LinkSetMTU(link, narrow)
	}
	if err != nil {
		t.Fatal(err)
	}
	flood := func(ns *os.File, number int) {
		acceptOn(t, ns, "tcp", number, func(c net.Conn) {
			c.Write(make([]byte, size))
			c.Close()
		})
	}
	flood(web.NetNS, 80)
	flood(w.ns.File, 8000)
	var number int
	fmt.Sscan(web.Ports[port("80/tcp")][0].HostPort, &number)
	for family := range w.host {
		for who, one := range map[string]struct {
			ns *os.File
			to netip.AddrPort
		}{
			"what the container sends": {w.ns.File, netip.AddrPortFrom(w.host[family], uint16(number))},
			"what it is sent":          {web.NetNS, netip.AddrPortFrom(w.there[family], 8000)},
		} {
			inside(t, one.ns, func() {
				c, err := net.DialTimeout("tcp", one.to.String(), 10*time.Second)
				if err != nil {
					t.Errorf("IPv%d: %s: %v", 4+2*family, who, err)
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(30 * time.Second))
				if got, err := io.ReadAll(c); err != nil || len(got) != size {
					t.Errorf("IPv%d: %s: %d bytes, %v", 4+2*family, who, len(got), err)
				}
			})
		}
	}
}

// TestIntoTheClosed: from outside nobody gets into a closed network, whatever routes there are, and ports are not published there.
func TestIntoTheClosed(t *testing.T) {
	cfg := testConfig(t, 0)
	in := start(t, cfg)
	w := dualWorld(t, cfg)
	for nth, mode := range []option.Mode{option.NAT, option.NATUnprotected, option.Routed} {
		name := string(mode)
		in.makeNet(t, name, nth, func(r *nt.CreateRequest) {
			dual(nth)(r)
			r.Internal, r.Options = true, map[string]string{option.Gateway4: name, option.Gateway6: name}
		})
		routeFrom(t, w.ns, userSubnet(nth), w.host[0])
		routeFrom(t, w.ns, subnet6(nth), w.host[1])
		req := on(name, name)
		req.Ports = nt.PortMap{port("80/tcp"): {{}}}
		box := in.join(t, name, req)
		serve(t, box.NetNS, 80)
		serve6(t, box.NetNS, 80)
		if len(box.Ports) != 0 {
			t.Errorf("%s: %v", name, box.Ports)
		}
		for _, at := range []netip.Addr{box.Endpoints[name].IPAddress, box.Endpoints[name].GlobalIPv6Address} {
			if got := reach(t, w.ns.File, at, 80, false); !fails(got) {
				t.Errorf("%s: the world: %s", name, got)
			}
			if pings(t, w.ns.File, at) {
				t.Errorf("%s: answers a ping of the world", name)
			}
			if got := reach(t, nil, at, 80, true); fails(got) {
				t.Errorf("%s: the host: %s", name, got)
			}
		}
	}
	// One that is on a routed network, too, is reached by that.
	in.makeNet(t, "out", 3, func(r *nt.CreateRequest) {
		dual(3)(r)
		r.Options = map[string]string{option.Gateway4: "routed", option.Gateway6: "routed"}
	})
	routeFrom(t, w.ns, userSubnet(3), w.host[0])
	req := on("both", "routed", "out")
	req.Ports = nt.PortMap{port("80/tcp"): {{HostPort: "80"}}}
	both := in.join(t, "both", req)
	serve(t, both.NetNS, 80)
	if got := reach(t, w.ns.File, both.Endpoints["out"].IPAddress, 80, true); fails(got) {
		t.Errorf("by the network that leads out: %s", got)
	}
	left := on("both", "routed")
	left.Ports, left.NetNS = req.Ports, both.NetNS
	if box, err := in.Disconnect(context.Background(), "both", "out", left); err != nil || len(box.Ports) != 0 {
		t.Errorf("%v %+v", err, box)
	}
	if got := in.faults(t); got != "" {
		t.Error(got)
	}
}

// TestForwardingIsWhole: when several containers start at once on a host that forwards nothing, all its devices forward afterwards.
func TestForwardingIsWhole(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	done := make(chan struct{})
	var busy, all sync.WaitGroup
	busy.Go(func() { // the kernel has a setting written again when it is busy with devices
		for {
			select {
			case <-done:
				return
			default:
			}
			one := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "busy"}}
			if err := errors.Join(netlink.LinkAdd(one), netlink.LinkDel(one)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 300 {
		settings(t, map[string]string{"ipv4/ip_forward": "0"})
		for range 8 {
			all.Go(func() {
				if err := bridge.ForwardIPv4(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if text, err := os.ReadFile("/proc/sys/net/ipv4/conf/lo/forwarding"); err != nil || string(text) != "1\n" {
			t.Errorf("the host forwards, its device does not: %q, %v", text, err)
			break
		}
	}
	close(done)
	busy.Wait()
}
