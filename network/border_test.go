package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/option"
)

// TestMoreThanOneBridge: a network that has more containers than a bridge has ports is one network all the same.
func TestMoreThanOneBridge(t *testing.T) {
	cfg := testConfig(t, 0)
	cfg.Warm = -1
	in := start(t, cfg)
	in.makeNet(t, "n", 0, nil)
	in.makeNet(t, "alone", 1, func(r *nt.CreateRequest) { r.Options = map[string]string{option.ICC: "false"} })
	join := func(network string, from, upTo int) (boxes []*Sandbox) {
		in.lan(network).spans.Most = 2
		for i := from; i < upTo; i++ {
			id := fmt.Sprint(network, i)
			box := in.join(t, id, on(id, network))
			serve(t, box.NetNS, 80)
			boxes = append(boxes, box)
		}
		return boxes
	}
	boxes, apart := join("n", 0, 7), join("alone", 0, 5)
	if n := len(in.lan("n").spans.Devices()); n != 4 {
		t.Errorf("%d bridges", n)
	}
	for i, to := range boxes {
		address := to.Endpoints["n"].IPAddress.String() + ":80"
		if got := askFrom(t, boxes[0].NetNS, address); fails(got) {
			t.Errorf("0 to %d: %s", i, got)
		}
		if got := askFrom(t, boxes[6].NetNS, address); fails(got) {
			t.Errorf("6 to %d: %s", i, got)
		}
		if got := ask(address); fails(got) {
			t.Errorf("host to %d: %s", i, got)
		}
	}
	for i, to := range apart[1:] {
		if got := shutFrom(t, apart[0].NetNS, to.Endpoints["alone"].IPAddress.String()+":80"); !fails(got) {
			t.Errorf("kept apart, reaches %d", i+1)
		}
		if got := ask(to.Endpoints["alone"].IPAddress.String() + ":80"); fails(got) {
			t.Errorf("kept apart, host to %d: %s", i+1, got)
		}
	}
	in.crash()
	in.open(t)
	for i, box := range boxes {
		id := fmt.Sprint("n", i)
		if err := in.Restore(id, *box, on(id, "n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Sweep(); err != nil {
		t.Fatal(err)
	}
	more := join("n", 7, 9)
	for i, to := range append(boxes, more...) {
		if got := askFrom(t, more[1].NetNS, to.Endpoints["n"].IPAddress.String()+":80"); fails(got) {
			t.Errorf("after a restart, 8 to %d: %s", i, got)
		}
	}
	names := []string{}
	for _, l := range in.all() {
		for _, device := range l.spans.Devices() {
			names = append(names, device.Name, "cl"+device.Name[2:])
		}
	}
	for i := range 9 {
		in.Leave(fmt.Sprint("n", i))
	}
	for _, network := range []string{"n", "alone"} {
		if err := in.Remove(context.Background(), network); err != nil {
			t.Error(err)
		}
	}
	in.Close()
	in.Keeper = nil
	for _, name := range names {
		if bridge.Exists(name) {
			t.Errorf("device %s is left", name)
		}
	}
}

// TestNobodyPassesForAnother: a container that takes another's address, or another hardware address, is not heard.
func TestNobodyPassesForAnother(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "n", 0, nil)
	server, honest, thief := in.join(t, "s", on("s", "n")), in.join(t, "h", on("h", "n")), in.join(t, "t", on("t", "n"))
	withMAC := on("m", "n")
	withMAC.Networks["n"].MacAddress = nt.HardwareAddr{2, 1, 2, 3, 4, 5}
	own := in.join(t, "m", withMAC)
	serve(t, server.NetNS, 80)
	address := server.Endpoints["n"].IPAddress.String() + ":80"
	for who, box := range map[string]*Sandbox{"honest": honest, "own hardware address": own, "thief, before": thief} {
		if got := askFrom(t, box.NetNS, address); fails(got) {
			t.Errorf("%s: %s", who, got)
		}
	}
	change := func(what string, do func(link netlink.Link) error) {
		t.Helper()
		inside(t, thief.NetNS, func() {
			link, err := netlink.LinkByName("eth0")
			if err == nil {
				err = do(link)
			}
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	addr := func(a netip.Addr) *netlink.Addr {
		p, _ := netlink.ParseAddr(a.String() + "/27")
		return p
	}
	victim := honest.Endpoints["n"].IPAddress
	change("take an address", func(l netlink.Link) error {
		if err := netlink.AddrDel(l, addr(thief.Endpoints["n"].IPAddress)); err != nil {
			return err
		}
		return netlink.AddrAdd(l, addr(victim))
	})
	if got := shutFrom(t, thief.NetNS, address); !fails(got) {
		t.Errorf("with another's address: %s", got)
	}
	change("take a hardware address", func(l netlink.Link) error {
		if err := netlink.AddrDel(l, addr(victim)); err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, addr(thief.Endpoints["n"].IPAddress)); err != nil {
			return err
		}
		return netlink.LinkSetHardwareAddr(l, net.HardwareAddr(honest.Endpoints["n"].MacAddress))
	})
	if got := shutFrom(t, thief.NetNS, address); !fails(got) {
		t.Errorf("with another's hardware address: %s", got)
	}
	if got := askFrom(t, honest.NetNS, address); fails(got) {
		t.Errorf("the honest one, afterwards: %s", got)
	}
	change("be itself again", func(l netlink.Link) error {
		return netlink.LinkSetHardwareAddr(l, net.HardwareAddr(thief.Endpoints["n"].MacAddress))
	})
	if got := askFrom(t, thief.NetNS, address); fails(got) {
		t.Errorf("itself again: %s", got)
	}
}

// shutFrom is askFrom where nobody is to answer.
func shutFrom(t testing.TB, ns *os.File, address string) (answer string) {
	inside(t, ns, func() { answer = askBy(net.Dialer{Timeout: shutTime}, address) })
	return answer
}

// asking is how one asks where there is an answer or none.
func asking(answered bool) func(t testing.TB, ns *os.File, address string) string {
	if answered {
		return askFrom
	}
	return shutFrom
}
