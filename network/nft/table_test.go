package nft

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
)

func tableName(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: writes an nftables table")
	}
	name := fmt.Sprintf("cove-test-%d", os.Getpid())
	t.Cleanup(func() { Remove(name) })
	return name
}

func TestTableKeepsPortsWhenItIsOpenedAgain(t *testing.T) {
	name := tableName(t)
	bridges := []Bridge{{Name: "cvtest-none", Subnet: netip.MustParsePrefix("198.18.77.0/24"), Masquerade: true}}
	table, err := Open(name, "cvtest", bridges)
	if err != nil {
		t.Fatal(err)
	}
	web := Publication{6, netip.MustParseAddrPort("0.0.0.0:8080"), netip.MustParseAddrPort("198.18.77.2:80")}
	dns := Publication{17, netip.MustParseAddrPort("127.0.0.1:53"), netip.MustParseAddrPort("198.18.77.3:5353")}
	if err := table.Publish([]Publication{web, dns}); err != nil {
		t.Fatal(err)
	}
	table.Close()
	if table, err = Open(name, "cvtest", bridges); err != nil {
		t.Fatal(err)
	}
	if got := table.Published(); len(got) != 2 || !slices.Contains(got, web) || !slices.Contains(got, dns) {
		t.Errorf("after opening again: %v", got)
	}
	other := web
	other.Target = dns.Target
	third := Publication{6, netip.MustParseAddrPort("0.0.0.0:9"), web.Target}
	for range 3 {
		if err := table.Publish([]Publication{third, other}); err == nil {
			t.Error("a port was published twice")
		}
	}
	if err := table.Publish([]Publication{third}); err != nil {
		t.Errorf("after a refusal: %v", err)
	}
	if err := table.Withdraw([]Publication{third}); err != nil {
		t.Error(err)
	}
	if err := table.Withdraw([]Publication{dns, dns, other}); err != nil {
		t.Fatal(err)
	}
	if got := table.Published(); len(got) != 1 || got[0] != web {
		t.Errorf("after withdrawing: %v", got)
	}
	if rules := rulesOf(t, name); rules != 2+2+1+7+3+2 {
		t.Errorf("%d rules in the kernel", rules)
	}
	if drops, err := ForwardDrops(); err != nil || slices.Contains(drops, name) {
		t.Errorf("drops: %v %v", drops, err)
	}
	Remove(name)
	if table.Present() {
		t.Error("a removed table is there")
	}
	if err := table.Withdraw([]Publication{web}); err != nil {
		t.Errorf("withdrawing from a flushed table: %v", err)
	}
	if err := table.Restore(); err != nil || !table.Present() {
		t.Errorf("restoring: %v", err)
	}
	table.Close()
}

// rulesOf counts the rules of a table.
func rulesOf(t *testing.T, name string) int {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, c := range chains {
		if c.Table.Name != name {
			continue
		}
		rules, err := conn.GetRules(c.Table, c)
		if err != nil {
			t.Fatal(err)
		}
		count += len(rules)
	}
	return count
}

func TestMembersAreKept(t *testing.T) {
	name := tableName(t)
	table, err := Open(name, "cvtest", nil)
	if err != nil {
		t.Fatal(err)
	}
	one := Member{"cvtest1", net.HardwareAddr{2, 0, 0, 0, 0, 1}, []netip.Addr{netip.MustParseAddr("198.18.77.2")}}
	two := Member{"cvtest2", net.HardwareAddr{2, 0, 0, 0, 0, 2}, []netip.Addr{netip.MustParseAddr("198.18.77.3"), netip.MustParseAddr("fd77::3"), netip.MustParseAddr("fe80::3")}}
	for _, m := range []Member{one, two, one} {
		if err := table.Admit(m); err != nil {
			t.Fatal(err)
		}
	}
	two.MAC = net.HardwareAddr{2, 0, 0, 0, 0, 3}
	if err := table.Admit(two); err != nil {
		t.Fatal(err)
	}
	table.Close()
	if table, err = Open(name, "cvtest", nil); err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if len(table.admitted) != 2 || table.admitted["cvtest1"].String() != one.String() || table.admitted["cvtest2"].String() != two.String() {
		t.Errorf("after opening again: %v", table.admitted)
	}
	for range 2 {
		if err := table.Expel("cvtest1"); err != nil {
			t.Error(err)
		}
	}
	if err := table.Restore(); err != nil {
		t.Fatal(err)
	}
	if there, err := table.readMembers(); err != nil || len(there) != 1 || there["cvtest2"].String() != two.String() {
		t.Errorf("in the kernel: %v %v", there, err)
	}
	Remove(name)
	if table.Present() {
		t.Error("a removed table is there")
	}
	if err := table.Expel("cvtest2"); err != nil {
		t.Errorf("expelling from a flushed table: %v", err)
	}
}

// String makes members comparable.
func (m Member) String() string {
	slices.SortFunc(m.Addresses, netip.Addr.Compare)
	return fmt.Sprint(m.Device, " ", m.MAC, " ", m.Addresses)
}

// TestChangesHeal: what is published, admitted or opened just when somebody has removed the tables is there all the same, and
// so is what was there before.
func TestChangesHeal(t *testing.T) {
	name := tableName(t)
	table, err := Open(name, "cvtest", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	web := Publication{6, netip.MustParseAddrPort("0.0.0.0:8080"), netip.MustParseAddrPort("198.18.77.2:80")}
	other := Publication{17, netip.MustParseAddrPort("0.0.0.0:53"), netip.MustParseAddrPort("198.18.77.2:53")}
	if err := table.Publish([]Publication{web}); err != nil {
		t.Fatal(err)
	}
	mac := net.HardwareAddr{2, 0x42, 198, 18, 77, 2}
	for what, change := range map[string]func() error{
		"publish": func() error { return table.Publish([]Publication{other}) },
		"admit": func() error {
			return table.Admit(Member{Device: "cvtest1", MAC: mac, Addresses: []netip.Addr{netip.MustParseAddr("198.18.77.2")}})
		},
		"a bridge": func() error {
			return table.AddBridge(Bridge{Name: "cvtest-b", Subnet: netip.MustParsePrefix("198.18.77.0/24"), Masquerade: true})
		},
	} {
		if err := Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := change(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if !table.Present() {
			t.Errorf("%s: the tables are not back", what)
		}
	}
	if agrees, err := table.Agrees(); err != nil || !agrees || len(table.Published()) != 2 {
		t.Errorf("published: %v %v %v", table.Published(), agrees, err)
	}
	if there, err := table.readMembers(); err != nil || len(there) != 1 {
		t.Errorf("admitted: %v %v", there, err)
	}
	if err := table.RemoveBridge("cvtest-b"); err != nil {
		t.Errorf("remove the bridge: %v", err)
	}
}

// TestWatch: not only the loss of a table is noticed, but also that of what is in it, and nobody else's.
func TestWatch(t *testing.T) {
	name := tableName(t)
	table, err := Open(name, "cvtest", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	gone := make(chan bool, 100)
	watch, err := NewWatch(name, func() { gone <- table.Present() })
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyBridge} {
		conn.FlushTable(&nftables.Table{Name: name, Family: family})
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		missed := false
		for deadline := time.After(2 * time.Second); !missed; {
			select {
			case present := <-gone:
				missed = !present
			case <-deadline:
				t.Fatal("nobody was told that the rules are gone")
			}
		}
		if err := table.Restore(); err != nil {
			t.Fatal(err)
		}
		if !table.Present() {
			t.Error("the rules are not back")
		}
	}
}
