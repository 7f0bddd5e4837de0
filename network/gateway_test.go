package network

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
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

// world is a host beside this one, of both families, that has a route to containers where a test gives it one.
type world struct {
	ns          *bridge.Namespace
	host, there [2]netip.Addr // by family: this host's address, and its own
}

func dualWorld(t *testing.T, cfg Config) world {
	t.Helper()
	ns, there := outside(t, cfg)
	w := world{ns: ns, there: [2]netip.Addr{netip.MustParseAddr(there), nth6(0x97, 2)}, host: [2]netip.Addr{netip.MustParseAddr(there).Prev(), nth6(0x97, 1)}}
	give := func(device string, a netip.Addr) {
		link, err := netlink.LinkByName(device)
		if err == nil {
			err = os.WriteFile("/proc/sys/net/ipv6/conf/"+device+"/disable_ipv6", []byte("0"), 0)
		}
		if err == nil {
			err = netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD})
		}
		if err != nil {
			t.Error(err)
		}
	}
	give("cw"+cfg.Mark, w.host[1])
	inside(t, ns.File, func() { give("eth0", w.there[1]) })
	return w
}

// reach connects and returns what the server answers. Who is to be reached is asked again: a busy machine may take its time.
func reach(t *testing.T, ns *os.File, to netip.Addr, port int, wanted bool) (answer string) {
	t.Helper()
	one := func() {
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(to, uint16(port)).String(), 300*time.Millisecond)
		if err != nil {
			answer = "error: " + err.Error()
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		answer, err = bufio.NewReader(c).ReadString('\n')
		if answer = strings.TrimSpace(answer); err != nil {
			answer = "error: " + err.Error()
		}
	}
	for range 8 {
		if ns == nil {
			one()
		} else {
			inside(t, ns, one)
		}
		if !wanted || !fails(answer) {
			break
		}
	}
	return answer
}

// pings tells whether an address answers an ICMP echo.
func pings(t *testing.T, ns *os.File, to netip.Addr) (answered bool) {
	t.Helper()
	network, request, reply := "ip4:icmp", byte(8), byte(0)
	if to.Is6() {
		network, request, reply = "ip6:ipv6-icmp", 128, 129
	}
	inside(t, ns, func() {
		c, err := net.DialIP(network, nil, &net.IPAddr{IP: to.AsSlice()})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		sum := ^(uint16(request)<<8 + 1)
		for range 3 {
			c.Write([]byte{request, 0, byte(sum >> 8), byte(sum), 0, 1, 0, 0})
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			b := make([]byte, 200)
			for n, _, err := c.ReadFrom(b); err == nil && !answered; n, _, err = c.ReadFrom(b) {
				answered = n > 0 && b[0] == reply
			}
			if answered {
				return
			}
		}
	})
	return answered
}

// flush deletes an instance's tables, and waits until they are back.
func (in *instance) flush(t *testing.T) {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyBridge} {
		conn.DelTable(&nftables.Table{Name: in.cfg.TableName(), Family: family})
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); !in.table.Present(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the table does not come back")
		}
	}
}

// TestGatewayModes: who reaches which port of a container, and as whom the container is seen, by mode and family, at first, after
// the firewall was emptied, with no engine, and after a restart.
func TestGatewayModes(t *testing.T) {
	cfg := testConfig(t, 0)
	in := start(t, cfg)
	w := dualWorld(t, cfg)
	modes := map[string][2]option.Mode{
		"nat": {option.NAT, option.NAT}, "open": {option.NATUnprotected, option.NATUnprotected},
		"routed": {option.Routed, option.Routed}, "mixed": {option.NAT, option.Routed}, "other": {option.NAT, option.NAT},
	}
	nth, boxes, requests := 0, map[string]*Sandbox{}, map[string]Request{}
	serve(t, w.ns.File, 8000)
	serve6(t, w.ns.File, 8000)
	for _, name := range []string{"nat", "open", "routed", "mixed", "other"} {
		in.makeNet(t, name, nth, func(r *nt.CreateRequest) {
			dual(nth)(r)
			r.IPAM.Config[0].Subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(64 + os.Getpid()%60), byte(os.Getpid() / 60), byte(nth * 16)}), 28)
			r.Options = map[string]string{option.Gateway4: string(modes[name][0]), option.Gateway6: string(modes[name][1])}
			routeFrom(t, w.ns, r.IPAM.Config[0].Subnet, w.host[0])
			routeFrom(t, w.ns, r.IPAM.Config[1].Subnet, w.host[1])
		})
		nth++
		req := on(name, name)
		req.Ports = nt.PortMap{port("80/tcp"): {{HostPort: fmt.Sprint(20000 + nth)}}}
		requests[name], boxes[name] = req, in.join(t, name, req)
		for _, number := range []int{80, 81} {
			serve(t, boxes[name].NetNS, number)
			serve6(t, boxes[name].NetNS, number)
		}
	}
	shown := func(name string) (all []string) {
		for _, b := range boxes[name].Ports[port("80/tcp")] {
			all = append(all, fmt.Sprintf("%s %s", b.HostIP, b.HostPort))
		}
		return all
	}
	for name, want := range map[string][]string{
		"nat": {"0.0.0.0 20001", ":: 20001"}, "open": {"0.0.0.0 20002", ":: 20002"}, "routed": {"0.0.0.0 ", ":: "}, "mixed": {"0.0.0.0 20004", ":: "},
	} {
		if got := shown(name); !slices.Equal(got, want) {
			t.Errorf("%s shows its ports as %q, want %q", name, got, want)
		}
	}
	check := func(when string) {
		t.Helper()
		var all sync.WaitGroup // most of it is waiting for answers that do not come
		defer all.Wait()
		for i, name := range []string{"nat", "open", "routed", "mixed"} {
			e := boxes[name].Endpoints[name]
			for family, at := range []netip.Addr{e.IPAddress, e.GlobalIPv6Address} {
				mode := modes[name][family]
				routed, open := mode == option.Routed, mode == option.NATUnprotected
				seen := w.host[family]
				if routed {
					seen = at
				}
				for _, one := range []struct {
					who  string
					ns   *os.File
					to   netip.Addr
					port int
					want bool
				}{
					{"the world, the published port", w.ns.File, at, 80, routed || open},
					{"the world, another port", w.ns.File, at, 81, open},
					{"the world, by the host", w.ns.File, w.host[family], 20001 + i, !routed},
					{"another network, the published port", boxes["other"].NetNS, at, 80, routed},
					{"another network, another port", boxes["other"].NetNS, at, 81, false},
					{"the host", nil, at, 81, true},
				} {
					all.Go(func() {
						if got := reach(t, one.ns, one.to, one.port, one.want); fails(got) == one.want {
							t.Errorf("%s: %s, %s, IPv%d: %s", when, name, one.who, 4+2*family, got)
						}
					})
				}
				if got := pings(t, w.ns.File, at); got != (routed || open) {
					t.Errorf("%s: %s, IPv%d: answers a ping: %v", when, name, 4+2*family, got)
				}
				if got := reach(t, boxes[name].NetNS, w.there[family], 8000, true); got != seen.String() {
					t.Errorf("%s: %s, IPv%d: the world sees %s, want %s", when, name, 4+2*family, got, seen)
				}
			}
		}
	}
	check("at first")
	in.flush(t)
	check("after the table was deleted")
	in.crash()
	check("without an engine")
	in.open(t)
	for id, box := range boxes {
		if err := in.Restore(id, *box, requests[id]); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Sweep(); err != nil {
		t.Fatal(err)
	}
	check("after a restart")
	if got := in.faults(t); got != "" {
		t.Error(got)
	}
	in.routedLimits(t, w, boxes["routed"], requests["routed"])
}

// routedLimits: who may connect to published ports is the same where they are reached at the container's own address, and a port
// that is published no more is not reached any more.
func (in *instance) routedLimits(t *testing.T, w world, box *Sandbox, req Request) {
	t.Helper()
	at := []netip.Addr{box.Endpoints["routed"].IPAddress, box.Endpoints["routed"].GlobalIPv6Address}
	expect := func(when string, want bool) {
		t.Helper()
		for family, a := range at {
			if got := reach(t, w.ns.File, a, 80, want); fails(got) == want {
				t.Errorf("%s, IPv%d: %s", when, 4+2*family, got)
			}
		}
	}
	nobody := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	for _, step := range []struct {
		when string
		from []netip.Prefix
		want bool
	}{{"allowed to others alone", nobody, false}, {"allowed to all", nil, true}} {
		if err := in.Allow(step.from); err != nil {
			t.Fatal(err)
		}
		expect(step.when, step.want)
	}
	change := func(annotation string, ports nt.PortMap) {
		t.Helper()
		next := req
		next.Annotations, next.Ports = map[string]string{"cove.publish-from": annotation}, ports
		if annotation == "" {
			next.Annotations = nil
		}
		if _, err := in.Republish("routed", next); err != nil {
			t.Fatal(err)
		}
	}
	change("203.0.113.0/24", req.Ports)
	expect("published for others alone", false)
	change(w.there[0].String()+","+w.there[1].String(), req.Ports)
	expect("published for this one", true)
	change("", nt.PortMap{port("81/tcp"): {{}, {HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: "9"}}})
	expect("another port instead", false)
	for _, a := range at {
		if got := reach(t, w.ns.File, a, 81, true); fails(got) {
			t.Errorf("the other port: %s", got)
		}
	}
	in.Leave("routed")
	if got := len(in.table.Published().Ports); got != 2+4+2+2 {
		t.Errorf("%d publications are left: %+v", got, in.table.Published().Ports)
	}
}

// TestIsolated: on a network that is isolated the host has no address, and nobody is there but its containers.
func TestIsolated(t *testing.T) {
	in := start(t, testConfig(t, 0))
	isolated := map[string]string{option.Gateway4: "isolated", option.Gateway6: "isolated"}
	req := nt.CreateRequest{Name: "n", Options: isolated}
	if _, err := in.Create(context.Background(), req); !errdefs.IsInvalidArgument(err) ||
		!strings.Contains(err.Error(), "gateway mode 'isolated' can only be used for an internal network") {
		t.Errorf("not internal: %v", err)
	}
	in.makeNet(t, "n", 0, func(r *nt.CreateRequest) { dual(0)(r); r.Internal, r.Options = true, isolated })
	a, b := in.join(t, "a", on("a", "n")), in.join(t, "b", on("b", "n"))
	serve(t, b.NetNS, 80)
	serve6(t, b.NetNS, 80)
	check := func(when string) {
		t.Helper()
		link, err := netlink.LinkByName(in.lan("n").device.Name)
		if err != nil {
			t.Fatal(err)
		}
		if has, err := netlink.AddrList(link, netlink.FAMILY_ALL); err != nil || len(has) > 0 {
			t.Errorf("%s: the bridge has %v %v", when, has, err)
		}
		for _, at := range []netip.Addr{b.Endpoints["n"].IPAddress, b.Endpoints["n"].GlobalIPv6Address} {
			if got := reach(t, a.NetNS, at, 80, true); fails(got) {
				t.Errorf("%s: a neighbour: %s", when, got)
			}
			if got := reach(t, nil, at, 80, false); !fails(got) {
				t.Errorf("%s: the host: %s", when, got)
			}
		}
	}
	check("at first")
	n, err := in.Inspect("n")
	if err != nil || n.IPAM.Config[0].Gateway.IsValid() || n.IPAM.Config[1].Gateway.IsValid() {
		t.Errorf("%v %+v", err, n.IPAM.Config)
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
	check("after a restart")
	third := in.join(t, "c", on("c", "n"))
	used := []netip.Addr{a.Endpoints["n"].IPAddress, b.Endpoints["n"].IPAddress, third.Endpoints["n"].IPAddress}
	if !slices.Contains(used, userSubnet(0).Addr().Next()) {
		t.Errorf("the address of a gateway that there is not goes to nobody: %v", used)
	}
}

// TestBridgeOptions: the options that say which addresses the host has on a network and is seen as, and who is trusted.
func TestBridgeOptions(t *testing.T) {
	cfg := testConfig(t, 0)
	in := start(t, cfg)
	w := dualWorld(t, cfg)
	serve(t, w.ns.File, 8000)
	serve6(t, w.ns.File, 8000)
	second := [2]netip.Addr{w.there[0].Next(), w.there[1].Next()}
	link, err := netlink.LinkByName("cw" + cfg.Mark)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range second {
		bits := a.BitLen()
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, bits)}}); err != nil {
			t.Fatal(err)
		}
	}
	in.makeNet(t, "as", 0, func(r *nt.CreateRequest) {
		dual(0)(r)
		r.Options = map[string]string{option.Source4: second[0].String(), option.Source6: second[1].String()}
	})
	in.makeNet(t, "trusting", 1, func(r *nt.CreateRequest) {
		dual(1)(r)
		r.Options = map[string]string{option.Trusted: "nothing0:cw" + cfg.Mark}
		routeFrom(t, w.ns, userSubnet(1), w.host[0])
		routeFrom(t, w.ns, subnet6(1), w.host[1])
	})
	as := in.join(t, "as", on("as", "as"))
	req := on("trusting", "trusting")
	req.Ports = nt.PortMap{port("80/tcp"): {{HostIP: netip.MustParseAddr("127.0.0.1")}}, port("82/tcp"): {{HostIP: netip.IPv6Loopback()}}}
	box := in.join(t, "trusting", req)
	for _, number := range []int{80, 81, 82} {
		serve(t, box.NetNS, number)
		serve6(t, box.NetNS, number)
	}
	at := [2]netip.Addr{box.Endpoints["trusting"].IPAddress, box.Endpoints["trusting"].GlobalIPv6Address}
	check := func(when string) {
		t.Helper()
		for family := range at {
			if got := reach(t, as.NetNS, w.there[family], 8000, true); got != second[family].String() {
				t.Errorf("%s: the world sees %s, want %s", when, got, second[family])
			}
			for number, want := range map[int]bool{80: family == 0, 81: false, 82: family == 1} {
				if got := reach(t, w.ns.File, at[family], number, want); fails(got) == want {
					t.Errorf("%s: from the trusted device to %d, IPv%d: %s", when, number, 4+2*family, got)
				}
				if got := reach(t, as.NetNS, at[family], number, false); !fails(got) {
					t.Errorf("%s: from another network to %d, IPv%d: %s", when, number, 4+2*family, got)
				}
			}
		}
	}
	check("at first")
	in.flush(t)
	check("after the table was deleted")

	in.makeNet(t, "bare", 2, func(r *nt.CreateRequest) { r.Options = map[string]string{option.Inhibit: "true"} })
	bare := in.join(t, "bare", on("bare", "bare"))
	if e := bare.Endpoints["bare"]; e.Gateway != userSubnet(2).Addr().Next() {
		t.Errorf("%+v", e)
	}
	device := in.lan("bare").device.Name
	if got := bridge.Addresses(device); len(got) != 0 {
		t.Errorf("the bridge has %v", got)
	}
	own, err := netlink.LinkByName(device)
	if err == nil {
		err = netlink.AddrAdd(own, &netlink.Addr{IPNet: &net.IPNet{IP: userSubnet(2).Addr().Next().AsSlice(), Mask: net.CIDRMask(27, 32)}})
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := reach(t, bare.NetNS, w.there[0], 8000, true); got != w.host[0].String() {
		t.Errorf("with an address that somebody gave the bridge: %s", got)
	}
	in.crash()
	in.open(t)
	if err := in.Restore("bare", *bare, on("bare", "bare")); err != nil {
		t.Fatal(err)
	}
	if got := reach(t, bare.NetNS, w.there[0], 8000, true); got != w.host[0].String() {
		t.Errorf("and after a restart: %s", got)
	}
}

// TestFamiliesByOption: the options of Docker's that say which families there are, where the request does not.
func TestFamiliesByOption(t *testing.T) {
	in := start(t, testConfig(t, 0))
	no := false
	for _, c := range []struct {
		options   map[string]string
		six       *bool
		want4, v6 bool
	}{
		{map[string]string{option.Enable6: "true"}, nil, true, true},
		{map[string]string{option.Enable6: "true"}, &no, true, false},
		{map[string]string{option.Enable6: "true", option.Enable4: "false"}, nil, false, true},
	} {
		if _, err := in.Create(context.Background(), nt.CreateRequest{Name: "n", Options: c.options, EnableIPv6: c.six}); err != nil {
			t.Fatal(err)
		}
		if n, err := in.Inspect("n"); err != nil || n.EnableIPv4 != c.want4 || n.EnableIPv6 != c.v6 {
			t.Errorf("%v: %v %v %v", c.options, n.EnableIPv4, n.EnableIPv6, err)
		}
		if err := in.Remove(context.Background(), "n"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in.Create(context.Background(), nt.CreateRequest{Name: "n", Options: map[string]string{option.Enable6: "so"}}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

// TestDefaultOptions: what the engine is told of networks in general holds where who makes one says nothing else, and the address that
// the default network publishes on is that network's alone.
func TestDefaultOptions(t *testing.T) {
	cfg := testConfig(t, 0)
	cfg.HostIP = netip.MustParseAddr("127.0.0.2")
	cfg.Defaults = map[string]map[string]string{"bridge": {option.Enable6: "true", option.HostIP: "127.0.0.3"}, "macvlan": {"macvlan_mode": "private"}}
	in := start(t, cfg)
	in.makeNet(t, "n", 0, nil)
	in.makeNet(t, "own", 1, func(r *nt.CreateRequest) {
		no := false
		r.EnableIPv6, r.Options = &no, map[string]string{option.HostIP: "0.0.0.0"}
	})
	if n, err := in.Inspect("n"); err != nil || !n.EnableIPv6 || n.Options[option.HostIP] != "127.0.0.3" || n.Options["macvlan_mode"] != "" {
		t.Errorf("%v %+v", err, n)
	}
	for network, want := range map[string]string{"n": "127.0.0.3", "own": "0.0.0.0 ::", "bridge": "127.0.0.2"} {
		req := on(network, network)
		req.Ports = nt.PortMap{port("80/tcp"): {{}}}
		box := in.join(t, network, req)
		var got []string
		for _, b := range box.Ports[port("80/tcp")] {
			got = append(got, b.HostIP.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", network, got, want)
		}
	}
	if err := CheckDefaults(map[string]map[string]string{"bridge": {option.ICC: "so"}}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}
