package network

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/network/nft"
)

// TestWhoMayConnect: a port with sources is for them and the host, the instance's list is for all that comes from outside.
func TestWhoMayConnect(t *testing.T) {
	cfg := testConfig(t, 0)
	in := start(t, cfg)
	world, worlds := outside(t, cfg)
	host := netip.AddrFrom4([4]byte{198, 19, cfg.BIP.Addr().As4()[2], 1}).String()
	hosts := worlds + "/32"
	limited := func(from string) Request {
		return Request{Name: "web", Ports: nt.PortMap{port("80/tcp"): {{}}}, Annotations: map[string]string{api.PublishFrom: from}}
	}
	a := in.join(t, "a", limited("203.0.113.0/24"))
	peer := in.join(t, "b", Request{Name: "peer"})
	serve(t, a.NetNS, 80)
	at := ":" + a.Ports[port("80/tcp")][0].HostPort
	expect := func(when string, fromWorld, fromPeer bool) {
		t.Helper()
		if got := asking(fromWorld)(t, world.File, host+at); fails(got) == fromWorld {
			t.Errorf("%s: the world: %s", when, got)
		}
		if got := asking(fromPeer)(t, peer.NetNS, host+at); fails(got) == fromPeer {
			t.Errorf("%s: a neighbour: %s", when, got)
		}
		for _, address := range []string{"127.0.0.1", host} {
			if got := ask(address + at); fails(got) {
				t.Errorf("%s: the host by %s: %s", when, address, got)
			}
		}
	}
	expect("others may", false, false)
	change := func(from string) {
		t.Helper()
		shown, err := in.Republish("a", limited(from))
		if err != nil || ":"+shown[port("80/tcp")][0].HostPort != at {
			t.Fatalf("the port moved: %v %v", shown, err)
		}
	}
	change("203.0.113.0/24," + hosts)
	expect("the world may", true, false)
	in.crash()
	in.open(t)
	if err := in.Restore("a", *a, limited("203.0.113.0/24,"+hosts)); err != nil {
		t.Fatal(err)
	}
	if err := in.Restore("b", *peer, Request{Name: "peer"}); err != nil {
		t.Fatal(err)
	}
	if err := in.Sweep(); err != nil {
		t.Fatal(err)
	}
	expect("after a crash", true, false)
	change("0.0.0.0/0")
	expect("all may", true, true)

	for _, c := range []struct {
		allowed string
		world   bool
	}{{"203.0.113.0/24", false}, {hosts, true}, {"203.0.113.0/24,198.18.0.0/15", true}, {"203.0.113.7", false}, {"", true}} {
		ranges, err := ParseRanges(c.allowed)
		if err == nil {
			err = in.Allow(ranges)
		}
		if err != nil {
			t.Fatal(err)
		}
		expect("allowed "+c.allowed, c.world, true)
	}
	ranges, _ := ParseRanges("203.0.113.0/24")
	if err := in.Allow(ranges); err != nil {
		t.Fatal(err)
	}
	nft.Remove(cfg.TableName())
	for deadline := time.Now().Add(20 * time.Second); !in.table.Present() && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	expect("the table was lost", false, true)
}

// TestRepublish: ports of a container come and go while others stay where they are.
func TestRepublish(t *testing.T) {
	in := start(t, testConfig(t, 0))
	ports := func(m nt.PortMap) Request { return Request{Name: "web", Ports: m} }
	box := in.join(t, "a", ports(nt.PortMap{port("80/tcp"): {{}}}))
	in.join(t, "b", Request{Name: "other"})
	serve(t, box.NetNS, 80)
	serve(t, box.NetNS, 81)
	first := box.Ports[port("80/tcp")][0].HostPort
	shown, err := in.Republish("a", ports(nt.PortMap{port("80/tcp"): {{}, {}}, port("81/tcp"): {{}}}))
	if err != nil || len(shown[port("80/tcp")]) != 4 || shown[port("80/tcp")][0].HostPort != first {
		t.Fatalf("%v %v", shown, err)
	}
	second, third := shown[port("80/tcp")][2].HostPort, shown[port("81/tcp")][0].HostPort
	for _, at := range []string{first, second, third} {
		if got := ask("127.0.0.1:" + at); fails(got) {
			t.Errorf("port %s: %s", at, got)
		}
	}
	// Nothing happens where one of the ports is somebody's.
	_, err = in.Republish("b", Request{Name: "other", Ports: nt.PortMap{port("1/tcp"): {{}}, port("80/tcp"): {{HostPort: first}}}})
	if err == nil || !strings.Contains(err.Error(), "port is already allocated: container web has it") {
		t.Errorf("a taken port: %v", err)
	}
	if n := len(in.table.Published().Ports); n != 6 {
		t.Errorf("%d ports are published", n)
	}
	if shown, err = in.Republish("a", ports(nt.PortMap{port("81/tcp"): {{HostPort: third}}})); err != nil || len(shown) != 1 {
		t.Fatalf("%v %v", shown, err)
	}
	if got := ask("127.0.0.1:" + third); fails(got) {
		t.Errorf("what stayed: %s", got)
	}
	for _, at := range []string{first, second} {
		if got := ask("127.0.0.1:" + at); !strings.Contains(got, "refused") {
			t.Errorf("port %s, removed: %s", at, got)
		}
	}
	if got := in.faults(t); got != "" {
		t.Error(got)
	}
	if _, err := in.Republish("nobody", Request{}); err == nil {
		t.Error("a container without a network")
	}
}

// TestTenThousandPorts prints how long it takes to publish them and to end that.
func TestTenThousandPorts(t *testing.T) {
	in := start(t, testConfig(t, 0))
	for what, shift := range map[string]uint16{"the same numbers": 0, "other numbers": 20000} {
		wanted := nt.PortMap{}
		for n := uint16(20000); n < 30000; n++ {
			inside, _ := nt.PortFrom(n+shift, nt.TCP)
			wanted[inside] = []nt.PortBinding{{HostPort: fmt.Sprint(n)}}
		}
		box := in.join(t, "a", Request{Name: "many"})
		req := Request{Name: "many", Ports: wanted}
		began := time.Now()
		if _, err := in.Republish("a", req); err != nil {
			t.Fatal(err)
		}
		published := time.Since(began)
		serve(t, box.NetNS, int(29999+shift))
		if got := ask("127.0.0.1:29999"); fails(got) {
			t.Errorf("%s: the last one: %s", what, got)
		}
		began = time.Now()
		if err := in.Leave("a"); err != nil {
			t.Error(err)
		}
		t.Logf("10,000 ports with %s: published in %s, gone in %s", what, published, time.Since(began))
		if got := ask("127.0.0.1:29999"); !strings.Contains(got, "refused") {
			t.Errorf("%s: the last one, gone: %s", what, got)
		}
	}
}
