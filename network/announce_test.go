package network

import (
	"context"
	"slices"
	"testing"

	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
)

// TestNeighboursHearOfANewOne: who has an address after another, with another hardware address, is reached at once by those who spoke to the
// other: neighbours and the host, after a start and after a connect, and the next one again.
func TestNeighboursHearOfANewOne(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, nil)
	in.makeNet(t, "o", 1, nil)
	at := userSubnet(0).Addr().Next().Next().Next().Next()
	wish := func(mac byte) *nt.EndpointSettings {
		e := &nt.EndpointSettings{IPAMConfig: &nt.EndpointIPAMConfig{IPv4Address: at}}
		if mac > 0 {
			e.MacAddress = nt.HardwareAddr{2, 7, 7, 7, 7, mac}
		}
		return e
	}
	near := in.join(t, "near", on("near", "n"))
	for i, mac := range []byte{0, 1, 2, 0} {
		id := string(rune('a' + i))
		req := on(id, "o")
		if i != 2 { // which comes to the network later
			req = on(id, "n")
			req.Networks["n"] = wish(mac)
		}
		box := in.join(t, id, req)
		if i == 2 {
			req.NetNS = box.NetNS
			req.Networks["n"] = wish(mac)
			if _, err := in.Connect(context.Background(), id, "n", req); err != nil {
				t.Fatal(err)
			}
		}
		serve(t, box.NetNS, 80)
		if got := askFrom(t, near.NetNS, at.String()+":80"); fails(got) {
			t.Errorf("a neighbour, the %d. time: %s", i+1, got)
		}
		if got := ask(at.String() + ":80"); fails(got) {
			t.Errorf("the host, the %d. time: %s", i+1, got)
		}
		in.Leave(id)
		in.Forget(id)
		box.NetNS.Close()
	}
}

// TestNeighboursAreNotAskedInVain: who has the hardware address that everybody with his address has tells nobody of it, for a thousand
// neighbours would hear it; who comes after one with another is told of, also by the next engine.
func TestNeighboursAreNotAskedInVain(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, nil)
	at := userSubnet(0).Addr().Next().Next().Next().Next()
	told := func(id string, mac nt.HardwareAddr) (*Sandbox, bool) {
		t.Helper()
		req := on(id, "n")
		req.Networks["n"] = &nt.EndpointSettings{IPAMConfig: &nt.EndpointIPAMConfig{IPv4Address: at}, MacAddress: mac}
		box := in.join(t, id, req)
		asked := false
		inside(t, box.NetNS, func() {
			all, err := netlink.NeighList(0, netlink.FAMILY_V4)
			if err != nil {
				t.Error(err)
			}
			asked = slices.ContainsFunc(all, func(n netlink.Neigh) bool { return n.IP.Equal(at.AsSlice()) })
		})
		return box, asked
	}
	leave := func(id string) {
		in.Leave(id)
		in.Forget(id)
	}
	for _, id := range []string{"a", "b"} {
		if _, asked := told(id, nil); asked {
			t.Errorf("%s tells what everybody knows", id)
		}
		leave(id)
	}
	box, asked := told("c", nt.HardwareAddr{2, 7, 7, 7, 7, 7})
	if !asked {
		t.Error("nobody is told of another hardware address")
	}
	in.crash()
	in.open(t)
	if err := in.Restore("c", *box, on("c", "n")); err != nil {
		t.Fatal(err)
	}
	leave("c")
	if _, asked := told("d", nil); !asked {
		t.Error("nobody is told of the address that is usual again")
	}
	leave("d")
	if _, asked := told("e", nil); asked {
		t.Error("it is told twice")
	}
}
