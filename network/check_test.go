package network

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"

	"github.com/cove-containers/cove/network/nft"
)

// faults is what a check finds, and what it would do about it; the remedies are applied.
func (in *instance) faults(t *testing.T) string {
	t.Helper()
	found, err := in.Check(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Faults) > 0 {
		time.Sleep(500 * time.Millisecond) // until what is being made ahead is there
	}
	var all []string
	for _, f := range found.Faults {
		if f.Persists() {
			all = append(all, f.Problem+": "+f.Remedy)
			if err := f.Mend(context.Background()); err != nil {
				t.Errorf("%s: %v", f.Problem, err)
			}
		}
	}
	return strings.Join(all, "\n")
}

// TestCheck changes what is in the kernel and what the keeper holds behind its back.
func TestCheck(t *testing.T) {
	in := start(t, testConfig(t, 0))
	box := in.join(t, "a", Request{Name: "one", Ports: nt.PortMap{port("80/tcp"): {{}}}})
	serve(t, box.NetNS, 80)
	address := "127.0.0.1:" + box.Ports[port("80/tcp")][0].HostPort
	if got := in.faults(t); got != "" {
		t.Fatalf("at first: %s", got)
	}
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	stray := nft.Publication{Proto: 6, Host: netip.MustParseAddrPort("127.0.0.1:9"), Target: netip.MustParseAddrPort("198.18.0.250:9")}
	for _, c := range []struct {
		name, want string
		damage     func() error
	}{
		{"a map that somebody flushed", "the firewall table is gone or was changed by others: written anew", func() error {
			set, err := conn.GetSetByName(&nftables.Table{Name: in.cfg.TableName(), Family: nftables.TableFamilyIPv4}, "ports")
			if err != nil {
				return err
			}
			conn.FlushSet(set)
			return conn.Flush()
		}},
		{"a port withdrawn", "the port of a container is not published: published", func() error {
			return in.table.Withdraw(in.wanted())
		}},
		{"a port of nobody's", "the port is published and no container has it: withdrawn", func() error {
			return in.table.Publish(nft.Published{Ports: []nft.Publication{stray}})
		}},
		{"a device of nobody's", "no container has this device: removed", func() error {
			bridge, err := netlink.LinkByName(in.cfg.BridgeName())
			if err != nil {
				return err
			}
			veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: in.cfg.VethPrefix() + "c61200fa", MasterIndex: bridge.Attrs().Index}, PeerName: "p" + in.cfg.VethPrefix()}
			return netlink.LinkAdd(veth)
		}},
	} {
		if err := c.damage(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := in.faults(t); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := in.faults(t); got != "" {
			t.Errorf("%s, repaired: %s", c.name, got)
		}
		if got := ask(address); strings.HasPrefix(got, "error") {
			t.Errorf("%s, repaired: the container's port does not answer: %s", c.name, got)
		}
	}
	// A container's own device cannot be made again from outside.
	veth, err := netlink.LinkByName(in.cfg.VethPrefix() + hexOf(box.Endpoints["bridge"].IPAddress))
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(veth); err != nil {
		t.Fatal(err)
	}
	found, err := in.Check(context.Background(), false)
	if err != nil || len(found.Faults) != 1 || found.Faults[0].Mend != nil || !found.Faults[0].Persists() || !strings.Contains(found.Faults[0].Problem, "container a is gone") {
		t.Errorf("a device gone: %+v, %v", found.Faults, err)
	}
}

func hexOf(a netip.Addr) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, x := range a.As4() {
		b.WriteByte(digits[x>>4])
		b.WriteByte(digits[x&15])
	}
	return b.String()
}
