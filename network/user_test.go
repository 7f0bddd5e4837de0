package network

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/network/option"
)

// userSubnet is a subnet for the nth user's network of this test.
func userSubnet(nth int) netip.Prefix {
	pid := os.Getpid()
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(64 + pid%60), byte(pid / 60), byte(nth * 32)}), 27)
}

// makeNet makes a user's network on the nth subnet.
func (in *instance) makeNet(t testing.TB, name string, nth int, change func(*nt.CreateRequest)) string {
	t.Helper()
	req := nt.CreateRequest{Name: name, IPAM: &nt.IPAM{Config: []nt.IPAMConfig{{Subnet: userSubnet(nth)}}}}
	if change != nil {
		change(&req)
	}
	made, err := in.Create(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if in.Keeper != nil {
			in.Remove(context.Background(), made.ID)
		}
	})
	return made.ID
}

// on is a request for the networks named, the first being the mode.
func on(name string, networks ...string) Request {
	r := Request{Mode: networks[0], Name: name, Networks: map[string]*nt.EndpointSettings{}}
	for _, n := range networks {
		r.Networks[n] = &nt.EndpointSettings{}
	}
	return r
}

func fails(answer string) bool { return strings.HasPrefix(answer, "error") }

func TestUserNetworksAreApart(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "one", 0, nil)
	in.makeNet(t, "two", 1, nil)
	in.makeNet(t, "inner", 2, func(r *nt.CreateRequest) { r.Internal = true })
	in.makeNet(t, "alone", 3, func(r *nt.CreateRequest) { r.Options = map[string]string{option.ICC: "false"} })
	world, address := outside(t, in.cfg)
	serve(t, world.File, 8000)
	a, b := in.join(t, "a", on("a", "one")), in.join(t, "b", on("b", "one"))
	c, both := in.join(t, "c", on("c", "two")), in.join(t, "both", on("both", "one", "two"))
	i, j := in.join(t, "i", on("i", "inner")), in.join(t, "j", on("j", "inner"))
	x, y := in.join(t, "x", on("x", "alone")), in.join(t, "y", on("y", "alone"))
	d := in.join(t, "d", Request{Name: "d"})
	for _, box := range []*Sandbox{b, c, j, y, d} {
		serve(t, box.NetNS, 80)
	}
	at := func(s *Sandbox, network string) string { return s.Endpoints[network].IPAddress.String() + ":80" }
	for _, tc := range []struct {
		who  string
		from *Sandbox
		to   string
		fine bool
	}{
		{"neighbours", a, at(b, "one"), true},
		{"another network", a, at(c, "two"), false},
		{"the default network", a, at(d, "bridge"), false},
		{"from the default network", d, at(b, "one"), false},
		{"both, the first", both, at(b, "one"), true},
		{"both, the second", both, at(c, "two"), true},
		{"internal neighbours", i, at(j, "inner"), true},
		{"out of an internal network", i, address + ":8000", false},
		{"out of another", a, address + ":8000", true},
		{"neighbours kept apart", x, at(y, "alone"), false},
		{"kept apart, out", x, address + ":8000", true},
	} {
		if got := asking(tc.fine)(t, tc.from.NetNS, tc.to); fails(got) == tc.fine {
			t.Errorf("%s: %s", tc.who, got)
		}
	}
	if gw := i.Endpoints["inner"].Gateway; gw.IsValid() {
		t.Errorf("an internal network has the gateway %s", gw)
	}
	inside(t, i.NetNS, func() {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		if err != nil || len(routes) != 1 {
			t.Errorf("routes on an internal network: %v %v", routes, err)
		}
	})
	if got := ask(at(j, "inner")); fails(got) {
		t.Errorf("host to a container on an internal network: %s", got)
	}
}

func TestAddressesOnUserNetworks(t *testing.T) {
	in := start(t, testConfig(t, 0))
	subnet := userSubnet(0)
	first := subnet.Addr()
	nth := func(n int) netip.Addr {
		a := first
		for range n {
			a = a.Next()
		}
		return a
	}
	in.makeNet(t, "n", 0, func(r *nt.CreateRequest) {
		r.IPAM.Config[0].Gateway, r.IPAM.Config[0].IPRange = nth(30), netip.PrefixFrom(nth(8), 29)
		r.IPAM.Config[0].AuxAddress = map[string]netip.Addr{"printer": nth(9)}
	})
	in.makeNet(t, "chosen", 1, func(r *nt.CreateRequest) { r.IPAM = nil })
	a := in.join(t, "a", on("a", "n"))
	if got := a.Endpoints["n"]; got.IPAddress != nth(8) || got.Gateway != nth(30) || got.IPPrefixLen != 27 {
		t.Errorf("the first of the range: %+v", got)
	}
	static := func(address netip.Addr, networks ...string) Request {
		r := on("s", networks...)
		r.Networks[networks[len(networks)-1]].IPAMConfig = &nt.EndpointIPAMConfig{IPv4Address: address}
		return r
	}
	if got := in.join(t, "s", static(nth(20), "n")).Endpoints["n"].IPAddress; got != nth(20) {
		t.Errorf("asked for %s, got %s", nth(20), got)
	}
	// Also one that is kept ready for the next who comes, and on a second network.
	if got := in.join(t, "s2", static(nth(11), "n")).Endpoints["n"].IPAddress; got != nth(11) {
		t.Errorf("asked for one that is kept ready: got %s", got)
	}
	if got := in.join(t, "s3", static(nth(12), "bridge", "n")).Endpoints["n"].IPAddress; got != nth(12) {
		t.Errorf("asked for one on a second network: got %s", got)
	}
	for _, tc := range []struct {
		request Request
		want    string
	}{
		{static(nth(20), "n"), "already in use"},
		{static(nth(9), "n"), "already in use"},
		{static(nth(30), "n"), "already in use"},
		{static(netip.MustParseAddr("203.0.113.1"), "n"), "no configured subnet contains"},
		{static(nth(5), "chosen"), "user configured subnets"},
		{on("z", "absent"), "network absent not found"},
		{on("z", "host", "n"), "multiple networks"},
	} {
		if _, err := in.Join(context.Background(), "z", tc.request); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("want %q, got %v", tc.want, err)
		}
	}
	// A container that comes back has its address again, while nobody else needed it.
	a.NetNS.Close()
	in.Leave("a")
	if got := in.join(t, "b", on("b", "n")).Endpoints["n"].IPAddress; got == nth(8) {
		t.Error("the address of a container that has stopped was given away without need")
	}
	if got := in.join(t, "a", on("a", "n")).Endpoints["n"].IPAddress; got != nth(8) {
		t.Errorf("came back with %s, had %s", got, nth(8))
	}
}

func TestCreateRefuses(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, nil)
	subnet := userSubnet(0)
	config := func(c nt.IPAMConfig) *nt.IPAM { return &nt.IPAM{Config: []nt.IPAMConfig{c}} }
	yes, no := true, false
	for _, tc := range []struct {
		req  nt.CreateRequest
		want string
		kind func(error) bool
	}{
		{nt.CreateRequest{Name: " "}, "name is empty", errdefs.IsInvalidArgument},
		{nt.CreateRequest{Name: "n"}, "already exists", errdefs.IsConflict},
		{nt.CreateRequest{Name: "bridge"}, "predefined", errdefs.IsPermissionDenied},
		{nt.CreateRequest{Name: "x", IPAM: config(nt.IPAMConfig{Subnet: netip.PrefixFrom(subnet.Addr(), 29)})}, "overlap", errdefs.IsPermissionDenied},
		{nt.CreateRequest{Name: "x", IPAM: config(nt.IPAMConfig{Subnet: in.cfg.BIP.Masked()})}, "overlap", errdefs.IsPermissionDenied},
		{nt.CreateRequest{Name: "x", IPAM: config(nt.IPAMConfig{Subnet: netip.MustParsePrefix("127.0.0.0/24")})}, "overlap", errdefs.IsPermissionDenied},
		{nt.CreateRequest{Name: "x", IPAM: config(nt.IPAMConfig{Subnet: netip.MustParsePrefix("203.0.113.1/24")})}, "it should be 203.0.113.0/24", errdefs.IsInvalidArgument},
		{nt.CreateRequest{Name: "x", IPAM: config(nt.IPAMConfig{Subnet: netip.MustParsePrefix("203.0.113.0/32")})}, "no room", errdefs.IsInvalidArgument},
		{nt.CreateRequest{Name: "x", IPAM: config(nt.IPAMConfig{Subnet: netip.MustParsePrefix("224.0.9.0/24")})}, "no host can have", errdefs.IsInvalidArgument},
		{nt.CreateRequest{Name: "x", IPAM: config(nt.IPAMConfig{Subnet: netip.MustParsePrefix("203.0.113.0/24"), Gateway: netip.MustParseAddr("203.0.113.0")})}, "invalid gateway", errdefs.IsInvalidArgument},
		{nt.CreateRequest{Name: "x", Options: map[string]string{option.Bridge: "all"}}, "network device", errdefs.IsInvalidArgument},
		{nt.CreateRequest{Name: "x", IPAM: config(nt.IPAMConfig{Subnet: netip.MustParsePrefix("203.0.113.0/24"), Gateway: netip.MustParseAddr("203.0.114.1")})}, "invalid gateway", errdefs.IsInvalidArgument},
		{nt.CreateRequest{Name: "x", IPAM: config(nt.IPAMConfig{Subnet: netip.MustParsePrefix("203.0.113.0/24"), IPRange: netip.MustParsePrefix("203.0.114.0/28")})}, "invalid ip-range", errdefs.IsInvalidArgument},
		{nt.CreateRequest{Name: "x", IPAM: config(nt.IPAMConfig{Gateway: netip.MustParseAddr("203.0.114.1")})}, "a subnet is needed", errdefs.IsInvalidArgument},
		{nt.CreateRequest{Name: "x", Driver: "nosuch"}, "not found", errdefs.IsNotFound},
		{nt.CreateRequest{Name: "x", Driver: "overlay"}, "overlay", errdefs.IsNotImplemented},
		{nt.CreateRequest{Name: "x", EnableIPv4: &no}, "IPv4 or IPv6 must be enabled", errdefs.IsInvalidArgument},
		{nt.CreateRequest{Name: "x", EnableIPv6: &yes, IPAM: config(nt.IPAMConfig{Subnet: netip.MustParsePrefix("fd00::/128")})}, "no room", errdefs.IsInvalidArgument},
		{nt.CreateRequest{Name: "x", EnableIPv6: &yes, IPAM: config(nt.IPAMConfig{Subnet: netip.MustParsePrefix("fe80::/64")})}, "no host can have", errdefs.IsInvalidArgument},
		{nt.CreateRequest{Name: "x", EnableIPv6: &yes, IPAM: config(nt.IPAMConfig{Subnet: netip.MustParsePrefix("2001:db8::/64"), Gateway: netip.MustParseAddr("10.0.0.1")})}, "invalid gateway", errdefs.IsInvalidArgument},
		{nt.CreateRequest{Name: "x", EnableIPv6: &yes, IPAM: &nt.IPAM{Config: []nt.IPAMConfig{{Subnet: netip.MustParsePrefix("2001:db8::/64")}, {Subnet: netip.MustParsePrefix("2001:db8:1::/64")}}}}, "multiple subnets", errdefs.IsPermissionDenied},
		{nt.CreateRequest{Name: "x", Options: map[string]string{option.MTU: "many"}}, option.MTU, errdefs.IsInvalidArgument},
		{nt.CreateRequest{Name: "x", Options: map[string]string{option.Bridge: "a/b"}}, "network device", errdefs.IsInvalidArgument},
	} {
		_, err := in.Create(context.Background(), tc.req)
		if !tc.kind(err) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc.req, err)
		}
	}
	var won atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := in.Create(context.Background(), nt.CreateRequest{Name: "race"}); err == nil {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d made the same network", won.Load())
	}
	if err := in.Remove(context.Background(), "race"); err != nil {
		t.Error(err)
	}
}

func TestConnectAndDisconnect(t *testing.T) {
	in := start(t, testConfig(t, 0))
	id := in.makeNet(t, "n", 0, nil)
	in.makeNet(t, "o", 1, nil)
	peer := in.join(t, "p", on("peer", "o"))
	serve(t, peer.NetNS, 80)
	req := on("web", "n")
	req.Ports = nt.PortMap{port("80/tcp"): {{}}}
	box := in.join(t, "w", req)
	serve(t, box.NetNS, 80)
	published := func(s *Sandbox) string { return "127.0.0.1:" + s.Ports[port("80/tcp")][0].HostPort }
	if got := ask(published(box)); fails(got) {
		t.Fatalf("published on a user's network: %s", got)
	}
	if err := in.Remove(context.Background(), "n"); !errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), `has active endpoints (name:"web"`) {
		t.Errorf("removing a network in use: %v", err)
	}
	ctx := context.Background()
	req.NetNS = box.NetNS
	req.Networks["o"] = &nt.EndpointSettings{Aliases: []string{"API"}}
	after, err := in.Connect(ctx, "w", "o", req)
	if err != nil {
		t.Fatal(err)
	}
	if after.Endpoints["n"].IPAddress != box.Endpoints["n"].IPAddress || len(after.Ports) != 1 || published(after) != published(box) {
		t.Errorf("after connecting: %+v", after)
	}
	if got := askFrom(t, box.NetNS, peer.Endpoints["o"].IPAddress.String()+":80"); fails(got) {
		t.Errorf("on the second network: %s", got)
	}
	if got, known := in.Lookup("p", "api.o"); !known || len(got) != 1 || got[0] != after.Endpoints["o"].IPAddress {
		t.Errorf("the alias: %v %v", got, known)
	}
	if _, err := in.Connect(ctx, "w", "o", req); !errdefs.IsPermissionDenied(err) {
		t.Errorf("connected twice: %v", err)
	}
	delete(req.Networks, "n")
	if after, err = in.Disconnect(ctx, "w", id[:12], req); err != nil {
		t.Fatal(err)
	}
	if after.Endpoints["n"] != nil || after.Endpoints["o"] == nil {
		t.Errorf("after disconnecting: %+v", after.Endpoints)
	}
	if got := ask(published(after)); fails(got) {
		t.Errorf("published by the network that is left: %s", got)
	}
	if after, err = in.Disconnect(ctx, "w", "o", Request{NetNS: box.NetNS, Ports: req.Ports, Name: "web"}); err != nil {
		t.Fatal(err)
	}
	if len(after.Endpoints) != 0 || len(after.Ports) != 0 {
		t.Errorf("on no network: %+v", after)
	}
	if got := ask(published(box)); !fails(got) {
		t.Errorf("on no network, still published: %s", got)
	}
	if _, err := in.Disconnect(ctx, "w", "o", req); !errdefs.IsPermissionDenied(err) {
		t.Errorf("disconnected twice: %v", err)
	}
	back, err := in.Connect(ctx, "w", "n", Request{Name: "web", NetNS: box.NetNS, Ports: req.Ports, Networks: map[string]*nt.EndpointSettings{"n": {}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(published(back)); fails(got) {
		t.Errorf("connected again: %s", got)
	}
	inside(t, box.NetNS, func() {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		if err != nil || len(routes) != 2 {
			t.Errorf("connected again, routes: %v %v", routes, err)
		}
	})
}

func TestNames(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, nil)
	in.makeNet(t, "o", 1, nil)
	id := strings.Repeat("ab12", 16)
	web := on("Web", "n")
	web.Networks["n"].Aliases = []string{"api"}
	web.Hostname = "host1"
	box := in.join(t, id, web)
	other := on("other", "n")
	other.Networks["n"].Aliases = []string{"api"}
	other.Networks["n"].Links = []string{"Web:db"}
	second := in.join(t, "o", other)
	in.join(t, "far", on("far", "o"))
	in.join(t, "def", Request{Name: "def"})
	address := box.Endpoints["n"].IPAddress
	for _, tc := range []struct {
		who, name string
		want      int
		known     bool
	}{
		{"o", "web", 1, true}, {"o", "WEB.N.", 1, true}, {"o", "api", 2, true}, {"o", id[:12], 1, true}, {"o", "host1", 1, true},
		{"o", "db", 1, true}, {id, "db", 0, false}, {id, "web", 1, true}, {"o", "far", 0, false}, {"far", "web", 0, false},
		{"def", "web", 0, false}, {"def", "def", 0, false}, {"o", "web.o", 0, false}, {"nobody", "web", 0, false},
	} {
		got, known := in.Lookup(tc.who, tc.name)
		if known != tc.known || len(got) != tc.want || tc.want == 1 && tc.name != "far" && got[0] != address {
			t.Errorf("%s asks for %s: %v %v", tc.who, tc.name, got, known)
		}
	}
	if name, known := in.Reverse("o", address); !known || name != "Web.n" {
		t.Errorf("reverse: %q %v", name, known)
	}
	if _, known := in.Reverse("far", address); known {
		t.Error("reverse across networks")
	}
	if names := second.Endpoints["n"].DNSNames; strings.Join(names, " ") != "other api o" {
		t.Errorf("names: %q", names)
	}
	in.Rename(id, "w2")
	if _, known := in.Lookup("o", "web"); known {
		t.Error("the old name after a rename")
	}
	if _, known := in.Lookup("o", "w2"); !known {
		t.Error("no new name after a rename")
	}
	in.Leave(id)
	if got, _ := in.Lookup("o", "api"); len(got) != 1 {
		t.Errorf("after leaving: %v", got)
	}
}

func TestUserNetworksOutliveTheKeeper(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, func(r *nt.CreateRequest) { r.Labels = map[string]string{"a": "b"} })
	req := on("web", "n")
	req.Ports = nt.PortMap{port("80/tcp"): {{}}}
	req.Networks["n"].Aliases = []string{"api"}
	box := in.join(t, "w", req)
	serve(t, box.NetNS, 80)
	address := "127.0.0.1:" + box.Ports[port("80/tcp")][0].HostPort
	in.crash()
	in.open(t)
	if err := in.Restore("w", *box, req); err != nil {
		t.Fatal(err)
	}
	in.Remember("gone", map[string]netip.Addr{"n": box.Endpoints["n"].IPAddress.Next()})
	if err := in.Sweep(); err != nil {
		t.Fatal(err)
	}
	if got := ask(address); fails(got) {
		t.Errorf("published: %s", got)
	}
	second := in.join(t, "s", on("s", "n"))
	if got := askFrom(t, second.NetNS, box.Endpoints["n"].IPAddress.String()+":80"); fails(got) {
		t.Errorf("neighbours: %s", got)
	}
	if got := second.Endpoints["n"].IPAddress; got == box.Endpoints["n"].IPAddress.Next() {
		t.Error("the address of a container that has stopped was given away")
	}
	if _, known := in.Lookup("s", "api"); !known {
		t.Error("the alias is lost")
	}
	n, err := in.Inspect("n")
	if err != nil || n.Labels["a"] != "b" || n.Containers["w"].Name != "web" || len(n.IPAM.Config) != 1 || n.IPAM.Config[0].Subnet != userSubnet(0) {
		t.Errorf("inspect: %v %+v", err, n)
	}
}

func TestPruneNetworks(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "used", 0, nil)
	in.makeNet(t, "kept", 1, func(r *nt.CreateRequest) { r.Labels = map[string]string{"keep": ""} })
	in.makeNet(t, "unused", 2, nil)
	in.join(t, "w", on("web", "used"))
	not := api.Filters{}
	not.Add("label!", "keep")
	report, err := in.Prune(context.Background(), not)
	if err != nil || fmt.Sprint(report.NetworksDeleted) != "[unused]" {
		t.Errorf("%v %v", report, err)
	}
	dangling := api.Filters{}
	dangling.Add("dangling", "true")
	left, err := in.List(dangling)
	if err != nil || len(left) != 1 || left[0].Name != "kept" {
		t.Errorf("dangling: %v %v", left, err)
	}
}
