package nft

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
)

// TestChangesHoldWhateverTheKernelHas: a change that does not fit what is in the kernel, which somebody changed or of which a reply was
// lost, is made all the same, and so are those after it.
func TestChangesHoldWhateverTheKernelHas(t *testing.T) {
	name := tableName(t)
	table, err := Open(Config{Name: name, Prefix: "cvtest"})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	web := Publication{Proto: 6, Host: netip.MustParseAddrPort("0.0.0.0:8080"), Target: netip.MustParseAddrPort("198.18.77.2:80")}
	other := web
	other.Target = netip.MustParseAddrPort("198.18.77.3:80")
	somebody, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	change := func(how func(*nftables.Set, []nftables.SetElement) error, p Publication) {
		t.Helper()
		s := table.sets[0]
		if err := how(s.ports, singles([]Publication{p}, true)); err != nil {
			t.Fatal(err)
		}
		if err := somebody.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	agree := func(what string) {
		t.Helper()
		if same, err := table.Agrees(); err != nil || !same {
			t.Errorf("%s: the kernel has something else: %v", what, err)
		}
	}
	change(somebody.SetAddElements, other)
	if err := table.Publish(ports(web)); err != nil {
		t.Errorf("a port that somebody put there: %v", err)
	}
	agree("put there")
	change(somebody.SetDeleteElements, web)
	if err := table.Withdraw(ports(web)); err != nil {
		t.Errorf("a port that somebody took: %v", err)
	}
	agree("taken")

	// A socket that has no room for the replies to one batch loses all but a few.
	table.conn.CloseLasting()
	table.conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetWriteBuffer(largestBatch), c.SetReadBuffer(1))
	}))
	if err != nil {
		t.Fatal(err)
	}
	var many []Publication
	for port := range uint16(20 * portion) {
		many = append(many, Publication{Proto: 6, Host: netip.AddrPortFrom(netip.IPv4Unspecified(), 1000+port), Target: netip.AddrPortFrom(web.Target.Addr(), 2000+port)})
	}
	if err := table.Publish(ports(many...)); err != nil {
		t.Errorf("replies are lost: %v", err)
	}
	agree("replies lost")
	for range 3 {
		if err := table.Withdraw(ports(many[0])); err != nil {
			t.Error(err)
		}
		if err := table.Publish(ports(many[0])); err != nil {
			t.Error(err)
		}
	}
	agree("after replies were lost")
}

// TestAClosedTableStaysAsItIs: whoever comes late changes nothing of what a later engine has.
func TestAClosedTableStaysAsItIs(t *testing.T) {
	name := tableName(t)
	before, err := Open(Config{Name: name, Prefix: "cvtest"})
	if err != nil {
		t.Fatal(err)
	}
	web := Publication{Proto: 6, Host: netip.MustParseAddrPort("0.0.0.0:8080"), Target: netip.MustParseAddrPort("198.18.77.2:80")}
	member := Member{Device: "cvtest1", MAC: []byte{2, 0, 0, 0, 0, 1}, Addresses: []netip.Addr{web.Target.Addr()}}
	if err := before.Publish(ports(web)); err != nil {
		t.Fatal(err)
	}
	if err := before.Admit(member); err != nil {
		t.Fatal(err)
	}
	before.Close()
	now, err := Open(Config{Name: name, Prefix: "cvtest"})
	if err != nil {
		t.Fatal(err)
	}
	defer now.Close()
	if err := now.Withdraw(ports(web)); err != nil {
		t.Fatal(err)
	}
	if err := now.Expel(member.Device); err != nil {
		t.Fatal(err)
	}
	if before.Expel(member.Device) == nil || before.Restore() == nil {
		t.Error("a closed table can be changed")
	}
	other := web
	other.Target = netip.MustParseAddrPort("198.18.77.3:80")
	if err := now.Publish(ports(other)); err != nil {
		t.Error(err)
	}
	if same, err := now.Agrees(); err != nil || !same {
		t.Errorf("the kernel has something else: %v", err)
	}
}
