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
	bridges := []Bridge{{Name: "cvtest-none", Hosts: []netip.Prefix{netip.MustParsePrefix("198.18.77.1/24")}, Masquerade: true}}
	table, err := Open(Config{Name: name, Prefix: "cvtest", Bridges: bridges})
	if err != nil {
		t.Fatal(err)
	}
	web := Publication{Proto: 6, Host: netip.MustParseAddrPort("0.0.0.0:8080"), Target: netip.MustParseAddrPort("198.18.77.2:80")}
	dns := Publication{Proto: 17, Host: netip.MustParseAddrPort("127.0.0.1:53"), Target: netip.MustParseAddrPort("198.18.77.3:5353")}
	if err := table.Publish(ports(web, dns)); err != nil {
		t.Fatal(err)
	}
	table.Close()
	if table, err = Open(Config{Name: name, Prefix: "cvtest", Bridges: bridges}); err != nil {
		t.Fatal(err)
	}
	if got := table.Published().Ports; len(got) != 2 || !slices.Contains(got, web) || !slices.Contains(got, dns) {
		t.Errorf("after opening again: %v", got)
	}
	other := web
	other.Target = dns.Target
	third := Publication{Proto: 6, Host: netip.MustParseAddrPort("0.0.0.0:9"), Target: web.Target}
	for range 3 {
		if err := table.Publish(ports(third, other)); err == nil {
			t.Error("a port was published twice")
		}
	}
	if err := table.Publish(ports(third)); err != nil {
		t.Errorf("after a refusal: %v", err)
	}
	if err := table.Withdraw(ports(third)); err != nil {
		t.Error(err)
	}
	if err := table.Withdraw(ports(dns, dns, other)); err != nil {
		t.Fatal(err)
	}
	if got := table.Published().Ports; len(got) != 1 || got[0] != web {
		t.Errorf("after withdrawing: %v", got)
	}
	if rules := rulesOf(t, name); rules != 2+2+2+1+6+1+5+1+4+4+4+8 {
		t.Errorf("%d rules in the kernel", rules)
	}
	if drops, err := ForwardDrops(true); err != nil || slices.Contains(drops, name) {
		t.Errorf("drops: %v %v", drops, err)
	}
	Remove(name)
	if table.Present() {
		t.Error("a removed table is there")
	}
	if err := table.Withdraw(ports(web)); err != nil {
		t.Errorf("withdrawing from a flushed table: %v", err)
	}
	if err := table.Restore(); err != nil || !table.Present() {
		t.Errorf("restoring: %v", err)
	}
	table.Close()
}

func ports(all ...Publication) Published { return Published{Ports: all} }

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

// TestRowsAndLimitsAreKept: many ports in a row, and who may connect to them, are read back as they were written.
func TestRowsAndLimitsAreKept(t *testing.T) {
	name := tableName(t)
	table, err := Open(Config{Name: name, Prefix: "cvtest"})
	if err != nil {
		t.Fatal(err)
	}
	host := netip.MustParseAddrPort("0.0.0.0:10000")
	row := Publication{6, host, netip.MustParseAddrPort("198.18.77.2:10000"), 9999}
	want := Published{[]Publication{row}, []Limit{
		{6, host, 9999, netip.MustParsePrefix("192.0.2.0/24")}, {6, host, 9999, netip.MustParsePrefix("198.51.100.7/32")},
	}}
	same := func(when string, want Published) {
		t.Helper()
		got := table.Published()
		if len(got.Ports) != len(want.Ports) || len(got.Limits) != len(want.Limits) || got.Without(want).Count() > 0 || len(got.Without(want).Limits) > 0 {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
		if agrees, err := table.Agrees(); err != nil || !agrees {
			t.Errorf("%s: the kernel has something else: %v", when, err)
		}
	}
	if err := table.Publish(want); err != nil {
		t.Fatal(err)
	}
	same("published", want)
	if err := table.Allow([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("224.0.0.0/3")}); err != nil {
		t.Error(err)
	}
	table.Close()
	if table, err = Open(Config{Name: name, Prefix: "cvtest"}); err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	same("opened again", want)
	left := Published{Ports: []Publication{{6, host, row.Target, 4999}}, Limits: []Limit{{6, host, 4999, want.Limits[0].Source}}}
	if err := table.Replace(want, left); err != nil {
		t.Fatal(err)
	}
	same("replaced by a part", left)
	if err := table.Restore(); err != nil {
		t.Fatal(err)
	}
	same("written anew", left)
	// Somebody takes one element out: what is withdrawn with it goes all the same, and the rest is there.
	other := ports(Publication{Proto: 17, Host: netip.MustParseAddrPort("127.0.0.1:53"), Target: netip.MustParseAddrPort("198.18.77.3:53")})
	if err := table.Publish(other); err != nil {
		t.Fatal(err)
	}
	table.conn.FlushSet(table.sets[0].ranges)
	if err := table.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := table.Withdraw(left); err != nil {
		t.Errorf("withdrawing what is missing: %v", err)
	}
	same("the rest", other)
	if err := table.Allow(nil); err != nil {
		t.Error(err)
	}
}

// TestRelayedPortsAreKept: ports of IPv6 that lead to an address of IPv4 need no network of IPv6, are there when the table is opened again, and tell where
// they lead.
func TestRelayedPortsAreKept(t *testing.T) {
	name := tableName(t)
	table, err := Open(Config{Name: name, Prefix: "cvtest"})
	if err != nil {
		t.Fatal(err)
	}
	one := Publication{Proto: 6, Host: netip.MustParseAddrPort("[::]:8080"), Target: netip.MustParseAddrPort("198.18.77.2:80")}
	row := Publication{6, netip.MustParseAddrPort("[2001:db8::1]:9000"), netip.MustParseAddrPort("198.18.77.2:7000"), 99}
	want := ports(one, row, Publication{Proto: 6, Host: netip.MustParseAddrPort("0.0.0.0:8080"), Target: one.Target})
	same := func(when string) {
		t.Helper()
		if got := table.Published(); len(got.Ports) != len(want.Ports) || got.Without(want).Count() > 0 {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
		if agrees, err := table.Agrees(); err != nil || !agrees {
			t.Errorf("%s: the kernel has something else: %v", when, err)
		}
		for dialled, to := range map[string]string{
			"[::1]:8080": "198.18.77.2:80", "127.0.0.1:8080": "198.18.77.2:80", "[2001:db8::1]:9099": "198.18.77.2:7099", "[2001:db8::2]:9099": "", "[2001:db8::1]:9100": "",
		} {
			if at, known := table.Leads(6, netip.MustParseAddrPort(dialled)); known != (to != "") || known && at.String() != to {
				t.Errorf("%s: %s leads to %v", when, dialled, at)
			}
		}
	}
	if err := table.Publish(want); err != nil {
		t.Fatal(err)
	}
	same("published")
	table.Close()
	if table, err = Open(Config{Name: name, Prefix: "cvtest"}); err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	same("opened again")
	if err := table.Withdraw(want); err != nil {
		t.Fatal(err)
	}
	if agrees, err := table.Agrees(); err != nil || !agrees || table.Published().Count() > 0 {
		t.Errorf("withdrawn: %v %+v", err, table.Published())
	}
}

// TestManyPorts prints how long ten thousand ports take: those of a row with the same numbers, and those that lead to others.
func TestManyPorts(t *testing.T) {
	name := tableName(t)
	table, err := Open(Config{Name: name, Prefix: "cvtest"})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	var shifted []Publication
	for n := range uint16(10000) {
		shifted = append(shifted, Publication{Proto: 6, Host: netip.AddrPortFrom(netip.IPv4Unspecified(), 10000+n), Target: netip.AddrPortFrom(netip.MustParseAddr("198.18.77.2"), 30000+n)})
	}
	row := Publication{6, netip.MustParseAddrPort("0.0.0.0:10000"), netip.MustParseAddrPort("198.18.77.2:10000"), 9999}
	for what, p := range map[string]Published{"a row": ports(row), "other numbers": ports(shifted...)} {
		began := time.Now()
		if err := table.Publish(p); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		published := time.Since(began)
		if agrees, err := table.Agrees(); err != nil || !agrees {
			t.Errorf("%s: the kernel has something else: %v", what, err)
		}
		began = time.Now()
		if err := table.Withdraw(p); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		t.Logf("10000 ports, %s: published in %v, withdrawn in %v", what, published, time.Since(began))
	}
}

func TestMembersAreKept(t *testing.T) {
	name := tableName(t)
	table, err := Open(Config{Name: name, Prefix: "cvtest"})
	if err != nil {
		t.Fatal(err)
	}
	one := Member{Device: "cvtest1", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Addresses: []netip.Addr{netip.MustParseAddr("198.18.77.2")}}
	two := Member{Device: "cvtest2", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, Addresses: []netip.Addr{netip.MustParseAddr("198.18.77.3"), netip.MustParseAddr("fd77::3"), netip.MustParseAddr("fe80::3")}}
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
	if table, err = Open(Config{Name: name, Prefix: "cvtest"}); err != nil {
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
	table, err := Open(Config{Name: name, Prefix: "cvtest"})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	web := Publication{Proto: 6, Host: netip.MustParseAddrPort("0.0.0.0:8080"), Target: netip.MustParseAddrPort("198.18.77.2:80")}
	other := Publication{Proto: 17, Host: netip.MustParseAddrPort("0.0.0.0:53"), Target: netip.MustParseAddrPort("198.18.77.2:53")}
	if err := table.Publish(ports(web)); err != nil {
		t.Fatal(err)
	}
	mac := net.HardwareAddr{2, 0x42, 198, 18, 77, 2}
	for what, change := range map[string]func() error{
		"publish": func() error { return table.Publish(ports(other)) },
		"admit": func() error {
			return table.Admit(Member{Device: "cvtest1", MAC: mac, Addresses: []netip.Addr{netip.MustParseAddr("198.18.77.2")}})
		},
		"a bridge": func() error {
			return table.AddBridge(Bridge{Name: "cvtest-b", Hosts: []netip.Prefix{netip.MustParsePrefix("198.18.77.1/24")}, Masquerade: true})
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
	if agrees, err := table.Agrees(); err != nil || !agrees || len(table.Published().Ports) != 2 {
		t.Errorf("published: %v %v %v", table.Published().Ports, agrees, err)
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
	table, err := Open(Config{Name: name, Prefix: "cvtest"})
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
		for deadline := time.After(20 * time.Second); !missed; {
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
