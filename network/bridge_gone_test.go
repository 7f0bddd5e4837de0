package network

import (
	"context"
	"testing"

	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
)

// TestBridgeOfAnothersDoing: somebody removes the bridge of containers that run, or gives it another name; the next keeper puts them on
// one again, and leaves none behind.
func TestBridgeOfAnothersDoing(t *testing.T) {
	for name, harm := range map[string]func(netlink.Link) error{
		"removed": netlink.LinkDel,
		"renamed": func(l netlink.Link) error {
			if err := netlink.LinkSetDown(l); err != nil {
				return err
			}
			if err := netlink.LinkSetName(l, "wasbridge"); err != nil {
				return err
			}
			return netlink.LinkSetUp(l)
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := start(t, testConfig(t, 0))
			in.makeNet(t, "n", 0, nil)
			req := on("web", "n")
			req.Ports = nt.PortMap{port("80/tcp"): {{}}}
			box := in.join(t, "w", req)
			serve(t, box.NetNS, 80)
			link, err := netlink.LinkByName(in.lan("n").device.Name)
			if err == nil {
				err = harm(link)
			}
			if err != nil {
				t.Fatal(err)
			}
			in.crash()
			in.open(t)
			if err := in.Restore("w", *box, req); err != nil {
				t.Fatal(err)
			}
			if err := in.Sweep(); err != nil {
				t.Fatal(err)
			}
			if got := ask("127.0.0.1:" + box.Ports[port("80/tcp")][0].HostPort); fails(got) {
				t.Errorf("published: %s", got)
			}
			second := in.join(t, "s", on("s", "n"))
			if got := askFrom(t, second.NetNS, box.Endpoints["n"].IPAddress.String()+":80"); fails(got) {
				t.Errorf("neighbours: %s", got)
			}
			if _, err := netlink.LinkByName("wasbridge"); err == nil {
				t.Error("the old bridge is still there")
			}
			for _, id := range []string{"w", "s"} {
				in.Leave(id)
			}
			if err := in.Remove(context.Background(), "n"); err != nil {
				t.Error(err)
			}
		})
	}
}
