package network

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"

	"github.com/cove-containers/cove/network/option"
)

// leads gives the world a route to the default network by this host.
func (w world) leads(t *testing.T, cfg Config) {
	t.Helper()
	inside(t, w.ns.File, func() {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			t.Error(err)
			return
		}
		to := cfg.BIP.Masked()
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: w.host[0].AsSlice(),
			Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), 32)}}); err != nil {
			t.Error(err)
		}
	})
}

func addressOfBox(box *Sandbox) netip.Addr { return box.Endpoints["bridge"].IPAddress }

// TestDefaultNetworkApart: containers of the default network reach one another by published ports alone, and are hidden or not, as the daemon's user says.
func TestDefaultNetworkApart(t *testing.T) {
	cfg := testConfig(t, 0)
	cfg.Apart, cfg.Seen = true, true
	in := start(t, cfg)
	w := dualWorld(t, cfg)
	w.leads(t, cfg)
	a := in.join(t, "a", Request{Name: "one"})
	b := in.join(t, "b", Request{Name: "two", Ports: nt.PortMap{port("80/tcp"): {{}}}})
	serve(t, b.NetNS, 80)
	serve(t, w.ns.File, 8000)
	if got := reach(t, a.NetNS, addressOfBox(b), 80, false); !fails(got) {
		t.Errorf("a neighbour is reached: %s", got)
	}
	published, _ := netip.ParseAddrPort(cfg.BIP.Addr().String() + ":" + b.Ports[port("80/tcp")][0].HostPort)
	if got := reach(t, a.NetNS, published.Addr(), int(published.Port()), true); fails(got) {
		t.Errorf("a neighbour's published port: %s", got)
	}
	if got := reach(t, a.NetNS, w.there[0], 8000, true); got != addressOfBox(a).String() {
		t.Errorf("the world sees %q, want the container's address", got)
	}
	n, err := in.Inspect("bridge")
	if err != nil || n.Options[option.ICC] != "false" || n.Options[option.Masquerade] != "false" {
		t.Errorf("%v %v", err, n.Options)
	}
}

// TestDefaultNetworkWithin: addresses come from the range, and what is for others goes to the router that the daemon's user names, whose
// address no container gets. What was said once is forgotten when it is said no more.
func TestDefaultNetworkWithin(t *testing.T) {
	cfg := testConfig(t, 0)
	base := cfg.BIP.Addr().As4()
	router := netip.AddrFrom4([4]byte{base[0], base[1], base[2], 129})
	cfg.Range, cfg.Gateway.V4 = netip.PrefixFrom(router.Prev(), 25), router
	in := start(t, cfg)
	box := in.join(t, "a", Request{})
	if e := box.Endpoints["bridge"]; !cfg.Range.Contains(e.IPAddress) || e.IPAddress == router || e.Gateway != router {
		t.Errorf("address %s, gateway %s", e.IPAddress, e.Gateway)
	}
	if got := defaultRoutes(t, box, netlink.FAMILY_V4); len(got) != 1 || got[0] != router.String() {
		t.Errorf("default routes by %v, want %s", got, router)
	}
	shown := func() nt.IPAMConfig {
		n, err := in.Inspect("bridge")
		if err != nil || len(n.IPAM.Config) != 1 {
			t.Fatal(err, n.IPAM)
		}
		return n.IPAM.Config[0]
	}
	if c := shown(); c.IPRange != cfg.Range || c.Gateway != cfg.BIP.Addr() || c.AuxAddress["DefaultGatewayIPv4"] != router {
		t.Errorf("%+v", c)
	}
	in.crash()
	in.cfg.Gateway.V4 = netip.MustParseAddr("192.0.2.1")
	if _, err := Open(in.cfg, in.db); err == nil || !strings.Contains(err.Error(), "default gateway 192.0.2.1 is not in the default network's subnet") {
		t.Errorf("a gateway elsewhere: %v", err)
	}
	in.cfg.Range, in.cfg.Gateway.V4 = netip.Prefix{}, netip.Addr{}
	in.open(t)
	if c := shown(); c.IPRange.IsValid() || c.AuxAddress != nil {
		t.Errorf("after a restart without them: %+v", c)
	}
}

// TestDefaultNetworkByItsRange: without an address of its own the bridge has the first of the range.
func TestDefaultNetworkByItsRange(t *testing.T) {
	cfg := testConfig(t, 0)
	cfg.Range, cfg.BIP = cfg.BIP.Masked(), netip.Prefix{}
	in := start(t, cfg)
	if e := in.join(t, "a", Request{}).Endpoints["bridge"]; e.Gateway != cfg.Range.Addr().Next() || !cfg.Range.Contains(e.IPAddress) {
		t.Errorf("address %s, gateway %s", e.IPAddress, e.Gateway)
	}
}

// TestDirectRouting: published ports, and these alone, are reached at containers' own addresses, by those who may.
func TestDirectRouting(t *testing.T) {
	cfg := testConfig(t, 0)
	cfg.Direct = true
	in := start(t, cfg)
	w := dualWorld(t, cfg)
	w.leads(t, cfg)
	box := in.join(t, "a", Request{Name: "web", Ports: nt.PortMap{port("80/tcp"): {{}}}})
	serve(t, box.NetNS, 80)
	serve(t, box.NetNS, 81)
	if got := reach(t, w.ns.File, addressOfBox(box), 80, true); got != w.there[0].String() {
		t.Errorf("a published port: %s", got)
	}
	if got := reach(t, w.ns.File, addressOfBox(box), 81, false); !fails(got) {
		t.Errorf("a port that is not published: %s", got)
	}
	if err := in.Allow([]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}); err != nil {
		t.Fatal(err)
	}
	if got := reach(t, w.ns.File, addressOfBox(box), 80, false); !fails(got) {
		t.Errorf("who is not allowed: %s", got)
	}
}

// TestMarkedPackets: what others mark is let into networks, but into closed ones.
func TestMarkedPackets(t *testing.T) {
	cfg := testConfig(t, 0)
	if !inOwnNamespace(t) {
		return
	}
	cfg.Marked.Value, cfg.Marked.Mask = 0x20, 0x30
	in := start(t, cfg)
	w := dualWorld(t, cfg)
	w.leads(t, cfg)
	box := in.join(t, "a", Request{})
	serve(t, box.NetNS, 80)
	mark := func(value uint32) {
		t.Helper()
		conn, err := nftables.New()
		if err != nil {
			t.Fatal(err)
		}
		table := &nftables.Table{Name: "marks", Family: nftables.TableFamilyIPv4}
		conn.AddTable(table)
		conn.DelTable(table)
		conn.AddTable(table)
		chain := conn.AddChain(&nftables.Chain{Name: "mark", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityMangle})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Immediate{Register: 1, Data: binary.NativeEndian.AppendUint32(nil, value)},
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
		}})
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	mark(0x10)
	if got := reach(t, w.ns.File, addressOfBox(box), 80, false); !fails(got) {
		t.Errorf("with another mark: %s", got)
	}
	mark(0xe5)
	if got := reach(t, w.ns.File, addressOfBox(box), 80, true); got != w.there[0].String() {
		t.Errorf("with the mark: %s", got)
	}
}

// TestForwardingLeftAlone: where the daemon's user says so the host forwards no more than it did.
func TestForwardingLeftAlone(t *testing.T) {
	cfg := testConfig(t, 0)
	if !inOwnNamespace(t) {
		return
	}
	settings(t, map[string]string{"ipv4/ip_forward": "0", "ipv6/conf/all/forwarding": "0"})
	cfg.NoForward, cfg.IPv6, cfg.Range6 = true, true, netip.MustParsePrefix("fd00:98::/64")
	in := start(t, cfg)
	in.join(t, "a", Request{})
	if all := in.Warnings(); len(all) != 1 || all[0] != "WARNING: IPv4 forwarding is disabled" {
		t.Errorf("warnings: %q", all)
	}
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if now, err := os.ReadFile("/proc/sys/net/" + name); err != nil || strings.TrimSpace(string(now)) != "0" {
			t.Errorf("%s is %q, %v", name, now, err)
		}
	}
}

// TestLinkedApart: who is linked reaches the other's ports that the link is for, and nothing else, in both families, where containers are kept apart;
// also when the other has started again, and after the engine was killed.
func TestLinkedApart(t *testing.T) {
	cfg := testConfig(t, 0)
	cfg.Apart, cfg.IPv6, cfg.Range6 = true, true, netip.PrefixFrom(nth6(0x98, 0), 64)
	in := start(t, cfg)
	linked := []Linked{{ID: "b", Ports: []nt.Port{port("80/tcp")}}}
	b := in.join(t, "b", Request{Name: "two"})
	a := in.join(t, "a", Request{Name: "one", Linked: linked})
	c := in.join(t, "c", Request{Name: "three"})
	ends := func(box *Sandbox) []netip.Addr {
		e := box.Endpoints["bridge"]
		return []netip.Addr{e.IPAddress, e.GlobalIPv6Address}
	}
	check := func(when string) {
		t.Helper()
		for i, to := range ends(b) {
			if got := reach(t, a.NetNS, to, 80, true); got != ends(a)[i].String() {
				t.Errorf("%s: a linked port: %s", when, got)
			}
			for what, got := range map[string]string{
				"another port":   reach(t, a.NetNS, to, 81, false),
				"the other way":  reach(t, b.NetNS, ends(a)[i], 80, false),
				"somebody else":  reach(t, c.NetNS, to, 80, false),
				"to them either": reach(t, a.NetNS, ends(c)[i], 80, false),
			} {
				if !fails(got) {
					t.Errorf("%s: %s: %s", when, what, got)
				}
			}
		}
	}
	servers := func(boxes ...*Sandbox) {
		for _, box := range boxes {
			for _, at := range []int{80, 81} {
				serveOn(t, box.NetNS, "tcp", at)
			}
		}
	}
	servers(a, b, c)
	check("at first")
	in.flush(t)
	check("after the table was emptied")
	if err := in.Leave("b"); err != nil {
		t.Fatal(err)
	}
	holder := in.join(t, "d", Request{Name: "four"}) // it may have the address by now
	b = in.join(t, "b", Request{Name: "two"})
	servers(b)
	check("after a restart of the other")
	in.crash()
	in.open(t)
	for id, box := range map[string]*Sandbox{"a": a, "b": b, "c": c, "d": holder} {
		req := Request{Name: id}
		if id == "a" {
			req.Linked = linked
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
