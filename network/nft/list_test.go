package nft

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"
)

// somewhere is the port of a socket that is not there.
type somewhere uint16

func (s somewhere) Open(func(uint8, netip.AddrPort) (netip.AddrPort, bool)) uint16 { return uint16(s) }
func (s somewhere) Check()                                                         {}

// TestNftListsIt: who looks at the host's rules with nft, also an old one, sees the table, with all that can be in it.
func TestNftListsIt(t *testing.T) {
	name := tableName(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft is not installed")
	}
	host, host6 := netip.MustParsePrefix("198.18.77.1/24"), netip.MustParsePrefix("fd77::1/64")
	table, err := Open(Config{
		Name: name, Prefix: "cvtest", Direct: true, Marked: Mark{1, 1}, Near: somewhere(4242), Allowed: []netip.Prefix{host, host6},
		Bridges: []Bridge{{Name: "cvtestbr", Hosts: []netip.Prefix{host, host6}, Masquerade: true, Trusted: []string{"cvtesteth"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	from, to := host.Addr().Next(), host6.Addr().Next()
	mac := []byte{2, 0, 0, 0, 0, 1}
	if err := table.Admit(Member{Device: "cvtest1", MAC: mac, Addresses: []netip.Addr{from, to}, Gate: []byte{2, 0, 0, 0, 0, 2}}); err != nil {
		t.Fatal(err)
	}
	if err := table.Publish(ports(
		Publication{Proto: 6, Host: netip.MustParseAddrPort("0.0.0.0:8080"), Target: netip.AddrPortFrom(from, 80)},
		Publication{Proto: 6, Host: netip.MustParseAddrPort("[::]:8080"), Target: netip.AddrPortFrom(to, 80)},
		Publication{Proto: 6, Host: netip.MustParseAddrPort("[::]:8081"), Target: netip.AddrPortFrom(from, 80)},
		Publication{Proto: 6, Host: netip.MustParseAddrPort("[::]:9000"), Target: netip.AddrPortFrom(from, 9000), More: 99},
	)); err != nil {
		t.Fatal(err)
	}
	if err := table.Link(map[Link]bool{
		{PeerOf("cvtest1", mac, from), PeerOf("cvtest2", mac, from.Next()), 6, 80}: true,
		{PeerOf("cvtest1", mac, to), PeerOf("cvtest2", mac, to.Next()), 6, 80}:     true,
	}); err != nil {
		t.Fatal(err)
	}
	for family, has := range map[string]string{"ip": "198.18.77.3 . tcp . 80", "ip6": "fd77::3 . tcp . 80", "ip6 ": "dnat to :4242", "ip6  ": ":: . 8081 : 198.18.77.2 . 80", "bridge": "\"cvtest2\" . 02:00:00:00:00:01 . tcp . 80"} {
		out, err := exec.Command("nft", "-n", "list", "table", strings.TrimSpace(family), name).CombinedOutput()
		text := strings.ReplaceAll(strings.ReplaceAll(string(out), ". 6 .", ". tcp ."), "http", "80")
		if err != nil || !strings.Contains(text, has) {
			t.Errorf("%s: %v, without %q:\n%s", family, err, has, out)
		}
	}
}
