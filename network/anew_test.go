package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
	"github.com/cove-containers/cove/network/option"
)

// TestNetworkMadeAnew: a network with the subnet of one just removed has nothing of it: what was still going there neither
// takes the new container's device along nor frees its address.
func TestNetworkMadeAnew(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, nil)
	static := func(name, network string) Request {
		r := on(name, network)
		r.Networks[network].IPAMConfig = &nt.EndpointIPAMConfig{IPv4Address: userSubnet(0).Addr().Next().Next().Next()}
		return r
	}
	in.join(t, "old", static("old", "n")) // its namespace stays open, and so its device stays
	in.Leave("old")
	if err := in.Remove(context.Background(), "n"); err != nil {
		t.Fatal(err)
	}
	in.makeNet(t, "again", 0, nil)
	box := in.join(t, "new", static("new", "again"))
	serve(t, box.NetNS, 80)
	address := box.Endpoints["again"].IPAddress
	time.Sleep(patience + 500*time.Millisecond)
	if got := ask(address.String() + ":80"); fails(got) {
		t.Errorf("after what was left of the old one went: %s", got)
	}
	for i := range 4 {
		id := fmt.Sprint("more", i)
		if got := in.join(t, id, on(id, "again")).Endpoints["again"].IPAddress; got == address {
			t.Fatalf("%s was given twice", got)
		}
	}
}

// TestRefusedRemoval: a removal that is refused disturbs nobody.
func TestRefusedRemoval(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, nil)
	in.join(t, "a", on("a", "n"))
	var stop atomic.Bool
	done := make(chan error)
	go func() {
		var err error
		for !stop.Load() && err == nil {
			if e := in.Remove(context.Background(), "n"); !errdefs.IsPermissionDenied(e) {
				err = fmt.Errorf("removal: %w", errors.Join(e, errors.New("it was not refused")))
			}
		}
		done <- err
	}()
	for i := range 200 {
		if _, known := in.Lookup("a", "a"); !known {
			t.Fatal("the name is lost")
		}
		if i%20 == 0 {
			id := fmt.Sprint("b", i)
			in.join(t, id, on(id, "n"))
			if _, known := in.Lookup("a", id); !known {
				t.Fatal("the new one is not known")
			}
			in.Leave(id)
			if _, known := in.Lookup("a", id); known {
				t.Fatal("the one that left is known")
			}
		}
	}
	stop.Store(true)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestBridgeOfSomebodyElse: a bridge that is there is used as it is, and stays.
func TestBridgeOfSomebodyElse(t *testing.T) {
	in := start(t, testConfig(t, 0))
	name := fmt.Sprintf("br%d", os.Getpid())
	subnet := userSubnet(0)
	host := netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
	if _, err := bridge.Ensure(bridge.Wish{Name: name, Addresses: []netip.Prefix{host}, MTU: 1500}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bridge.Remove(name) })
	named := map[string]string{option.Bridge: name}
	if _, err := in.Create(context.Background(), nt.CreateRequest{Name: "n", Options: named}); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Create(context.Background(), nt.CreateRequest{Name: "o", Options: named}); !errdefs.IsPermissionDenied(err) {
		t.Errorf("two networks on one bridge: %v", err)
	}
	for _, other := range []string{in.cfg.BridgeName(), "all", "default", "a%d"} {
		if _, err := in.Create(context.Background(), nt.CreateRequest{Name: "o", Options: map[string]string{option.Bridge: other}}); err == nil {
			t.Errorf("a network on the bridge %s", other)
		}
	}
	box := in.join(t, "a", on("a", "n"))
	serve(t, box.NetNS, 80)
	if got := box.Endpoints["n"]; got.Gateway != host.Addr() || fails(ask(got.IPAddress.String()+":80")) {
		t.Errorf("on somebody else's bridge: %+v", got)
	}
	in.Leave("a")
	if err := in.Remove(context.Background(), "n"); err != nil {
		t.Fatal(err)
	}
	if got := bridge.Addresses(name); len(got) != 1 || got[0] != host {
		t.Errorf("after the network is gone the bridge has %v, had %v", got, host)
	}
}

// TestHalfMadeNetworks: bridges that a killed engine left, made for no network or of one that was removed, go with the next
// start; others', however they are called, stay.
func TestHalfMadeNetworks(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, nil)
	kept := in.lan("n").device.Name
	in.crash()
	lost, foreign := in.cfg.UserBridge("11111111"), in.cfg.UserBridge("22222222")
	for name, tag := range map[string]string{lost: in.cfg.TableName(), foreign: "cove-another"} {
		if _, err := bridge.Ensure(bridge.Wish{Name: name, Addresses: []netip.Prefix{netip.PrefixFrom(userSubnet(2).Addr().Next(), 27)}, MTU: 1500, Tag: tag}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { bridge.Remove(name) })
	}
	in.open(t)
	if bridge.Exists(lost) || !bridge.Exists(foreign) || !bridge.Exists(kept) {
		t.Errorf("the lost one is there: %v; another instance's: %v; the network's: %v", bridge.Exists(lost), bridge.Exists(foreign), bridge.Exists(kept))
	}
}

// TestSmallSubnet: what is kept ready does not keep addresses from who needs them.
func TestSmallSubnet(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, func(r *nt.CreateRequest) {
		r.IPAM.Config[0].Subnet = netip.PrefixFrom(userSubnet(0).Addr(), 29) // five addresses
	})
	in.join(t, "a", on("a", "n"))
	for i := range 4 {
		id := fmt.Sprint("c", i)
		in.join(t, id, on(id, "bridge", "n"))
	}
	if _, err := in.Join(context.Background(), "e", on("e", "bridge", "n")); err == nil || !strings.Contains(err.Error(), "no available IPv4 addresses") {
		t.Errorf("one too many: %v", err)
	}
}

// TestAddressOnItsWay: an address that somebody is just letting go of is waited for.
func TestAddressOnItsWay(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, func(r *nt.CreateRequest) {
		r.IPAM.Config[0].Subnet = netip.PrefixFrom(userSubnet(0).Addr(), 29) // five addresses
	})
	for i := range 4 {
		id := fmt.Sprint("c", i)
		in.join(t, id, on(id, "n"))
	}
	l := in.lan("n")
	for _, networks := range [][]string{{"n"}, {"bridge", "n"}} { // the first network, and a further one
		held := in.yield(l, ipam.Pair{}) // the fifth is kept ready, or still going
		for deadline := time.Now().Add(20 * time.Second); !held.IsValid() && time.Now().Before(deadline); in.graves.relieve(l) {
			if held, _ = l.space.Take(ipam.Pair{}); !held.IsValid() {
				held = in.yield(l, ipam.Pair{})
			}
		}
		time.AfterFunc(100*time.Millisecond, func() { l.space.Free(held) })
		in.join(t, "last", on("last", networks...))
		in.Leave("last")
	}
}

// TestRenamedAndRestored: after a restart a container is called what it was renamed to.
func TestRenamedAndRestored(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, nil)
	box := in.join(t, "a", on("before", "n", "bridge"))
	in.join(t, "d", Request{Name: "d"})
	in.Rename("d", "d2")
	if _, known := in.Lookup("a", "d2"); known {
		t.Error("a name on the default network, after a rename")
	}
	in.crash()
	in.open(t)
	if err := in.Restore("a", *box, on("after", "n", "bridge")); err != nil {
		t.Fatal(err)
	}
	if err := in.Sweep(); err != nil {
		t.Fatal(err)
	}
	_, before := in.Lookup("a", "before")
	_, after := in.Lookup("a", "after")
	if before || !after {
		t.Errorf("the old name is known: %v; the new one: %v", before, after)
	}
}

// TestNoServersOfTheHost: a container on internal networks alone asks no server by the host.
func TestNoServersOfTheHost(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "inner", 0, func(r *nt.CreateRequest) { r.Internal = true })
	in.join(t, "i", on("i", "inner"))
	for _, s := range in.servers("i", ResolvInput{}) {
		if s.Host {
			t.Errorf("asks %s by the host", s.Address)
		}
	}
	own := netip.MustParseAddr("127.0.0.11")
	if all := in.servers("i", ResolvInput{Servers: []netip.Addr{own}}); len(all) != 0 {
		t.Errorf("asks itself: %v", all)
	}
}

// TestHostsNamespace: the host's own namespace is not taken for a container's.
func TestHostsNamespace(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, nil)
	in.makeNet(t, "o", 1, nil)
	in.join(t, "a", on("a", "n"))
	ns, err := os.Open("/proc/thread-self/ns/net") // the process begins on a thread that a test may have left elsewhere
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	before, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	req := on("a", "n", "o")
	req.NetNS = ns
	if _, err := in.Connect(context.Background(), "a", "o", req); err == nil {
		t.Error("the host was connected")
	}
	if after, err := netlink.RouteList(nil, netlink.FAMILY_V4); err != nil || len(after) < len(before) {
		t.Errorf("the host has %d routes, had %d", len(after), len(before))
	}
}
