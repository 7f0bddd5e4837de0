package resolv

import (
	"net/netip"
	"slices"
	"testing"
)

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func TestConf(t *testing.T) {
	for _, tc := range []struct {
		name, host string
		in         Input
		want       string
	}{
		{"as on the host", "nameserver 10.1.1.1\nsearch a.b c\noptions ndots:2\n", Input{}, "nameserver 10.1.1.1\nsearch a.b c\noptions ndots:2\n"},
		{"comments", "# x\n; y\nnameserver 1.1.1.1 # z\n", Input{}, "nameserver 1.1.1.1\n"},
		{"loopback left out", "nameserver 127.0.0.53\nnameserver 1.1.1.1\nnameserver ::1\n", Input{}, "nameserver 1.1.1.1\n"},
		{"nothing left", "nameserver 127.0.0.1\nsearch x\n", Input{}, "nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch x\n"},
		{"no file", "", Input{}, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"},
		{"IPv6 servers", "nameserver fd00::1\nnameserver 10.0.0.1\n", Input{}, "nameserver 10.0.0.1\n"},
		{"IPv6 servers, reached", "nameserver fd00::1\nnameserver ::1\nnameserver fe80::1\n", Input{IPv6: true}, "nameserver fd00::1\n"},
		{"host network", "nameserver 127.0.0.1\n", Input{Host: true}, "nameserver 127.0.0.1\n"},
		{"the user's servers", "nameserver 10.0.0.1\nsearch x\n", Input{Servers: addrs("1.1.1.1", "::1")}, "nameserver 1.1.1.1\nnameserver ::1\nsearch x\n"},
		{
			"all by the user", "nameserver 10.0.0.1\nsearch x\noptions a\n", Input{Servers: addrs("9.9.9.9"), Search: []string{"q", "r"}, Options: []string{"ndots:1", "rotate"}},
			"nameserver 9.9.9.9\nsearch q r\noptions ndots:1 rotate\n",
		},
		{"search nowhere", "nameserver 10.0.0.1\nsearch x\n", Input{Search: []string{"."}}, "nameserver 10.0.0.1\n"},
		{"search nowhere, too", "nameserver 10.0.0.1\nsearch a.b .\n", Input{}, "nameserver 10.0.0.1\nsearch a.b\n"},
		{"domain", "nameserver 10.0.0.1\ndomain d.e\nsortlist 1.2.3.0\n", Input{}, "nameserver 10.0.0.1\nsearch d.e\nsortlist 1.2.3.0\n"},
		{"last search counts", "nameserver 10.0.0.1\nsearch a\nsearch b\n", Input{}, "nameserver 10.0.0.1\nsearch b\n"},
	} {
		if got := string(Conf([]byte(tc.host), tc.in)); got != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.name, got, tc.want)
		}
	}
}

func FuzzConf(f *testing.F) {
	f.Add("nameserver 10.1.1.1\nsearch a.b c\noptions ndots:2\n")
	f.Add("nameserver\n#\n; x\ndomain  \t y # z")
	f.Fuzz(func(t *testing.T, host string) {
		once := Conf([]byte(host), Input{})
		if twice := Conf(once, Input{}); string(once) != string(twice) {
			t.Errorf("not stable:\n%q\n%q", once, twice)
		}
	})
}

// TestForwardTo: servers that a container cannot reach itself are asked from the host.
func TestForwardTo(t *testing.T) {
	in := Input{Servers: addrs("10.0.0.1", "fd00::1", "127.0.0.11", "::ffff:10.0.0.2")}
	for _, tc := range []struct {
		name string
		has  Families
		want []bool
	}{
		{"IPv4 alone", Families{Four: true}, []bool{false, true, false}},
		{"both", Families{Four: true, Six: true}, []bool{false, false, false}},
		{"IPv6 alone", Families{Six: true}, []bool{true, false, true}},
	} {
		var got []bool
		for _, s := range ForwardTo(in, tc.has) {
			got = append(got, s.Host)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}
