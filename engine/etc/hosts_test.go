package etc

import (
	"net/netip"
	"strings"
	"testing"
)

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

const everyHost = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n" +
	"ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"

func TestHostsFile(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   HostsInput
		want string
	}{
		{"plain", HostsInput{Hostname: "abc", Addresses: addrs("172.17.0.2")}, "172.17.0.2\tabc\n"},
		{"full name", HostsInput{Hostname: "foo.example.com", Addresses: addrs("172.17.0.2")}, "172.17.0.2\tfoo.example.com foo\n"},
		{"domain apart", HostsInput{Hostname: "foo", Domainname: "example.com", Addresses: addrs("172.17.0.2")}, "172.17.0.2\tfoo.example.com foo\n"},
		{"no network", HostsInput{Hostname: "abc"}, ""},
		{"two addresses", HostsInput{Hostname: "a", Addresses: addrs("10.0.0.2", "10.1.0.2")}, "10.0.0.2\ta\n10.1.0.2\ta\n"},
		{
			"extra", HostsInput{
				Hostname: "h", Addresses: addrs("10.0.0.2"), HostGateways: addrs("10.0.0.1"),
				Extra: []string{"a:1.2.3.4", "b:host-gateway", "c:[::1]", "d:fe80::1", "e=5.6.7.8", "bad", ":1.1.1.1", "x:", "y:nope"},
			},
			"1.2.3.4\ta\n10.0.0.1\tb\n::1\tc\nfe80::1\td\n5.6.7.8\te\n10.0.0.2\th\n",
		},
		{"no gateway to name", HostsInput{Extra: []string{"b:host-gateway"}}, ""},
	} {
		if got := string(HostsFile(tc.in)); got != everyHost+tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.name, got, everyHost+tc.want)
		}
	}
	if got := string(HostsFile(HostsInput{NoIPv6: true})); got != "127.0.0.1\tlocalhost\n" {
		t.Errorf("without IPv6:\n%s", got)
	}
}

func FuzzSplitExtraHost(f *testing.F) {
	f.Add("a:1.2.3.4")
	f.Add("c=[::1]")
	f.Fuzz(func(t *testing.T, text string) {
		name, address, ok := SplitExtraHost(text)
		if ok && (name == "" || strings.ContainsAny(address, "[] \t\n")) {
			t.Errorf("%q gave %q, %q", text, name, address)
		}
	})
}

func TestAmendHosts(t *testing.T) {
	const own = "192.0.2.7\tmine\n"
	for _, tc := range []struct {
		name, before string
		in           HostsInput
		want         string
	}{
		{"one more", "127.0.0.1\tlocalhost\n10.0.0.2\th\n" + own, HostsInput{Hostname: "h", Addresses: addrs("10.0.0.2", "10.1.0.2")},
			"127.0.0.1\tlocalhost\n10.0.0.2\th\n" + own + "10.1.0.2\th\n"},
		{"one less", "10.0.0.2\th\n10.1.0.2\th\n" + own, HostsInput{Hostname: "h", Addresses: addrs("10.1.0.2")}, "10.1.0.2\th\n" + own},
		{"none left", "10.0.0.2\tf.x f\n" + own, HostsInput{Hostname: "f", Domainname: "x"}, own},
		{"as it is", own + "10.0.0.2\th\n", HostsInput{Hostname: "h", Addresses: addrs("10.0.0.2")}, own + "10.0.0.2\th\n"},
		{"no end of line", "10.9.9.9 other", HostsInput{Hostname: "h", Addresses: addrs("10.0.0.2")}, "10.9.9.9 other\n10.0.0.2\th\n"},
		{"asked for", "192.0.2.1\th\n127.0.0.1\th\n", HostsInput{Hostname: "h", Extra: []string{"h:192.0.2.1"}}, "192.0.2.1\th\n127.0.0.1\th\n"},
		{"without a name", "10.0.0.2\th\n", HostsInput{}, "10.0.0.2\th\n"},
		{"emptied", "", HostsInput{Hostname: "h", Addresses: addrs("10.0.0.2")}, "10.0.0.2\th\n"},
	} {
		if got := string(AmendHosts([]byte(tc.before), tc.in)); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestMoveHosts(t *testing.T) {
	text := "127.0.0.1\tlocalhost\n10.0.0.2\tdb\n10.0.0.2\tabc\n10.0.0.9\tother\n192.0.2.1\tdb\n::1\tdb\n10.0.0.2\tdb more\n10.0.0.2 db"
	want := "127.0.0.1\tlocalhost\n10.0.0.3\tdb\n10.0.0.3\tabc\n10.0.0.9\tother\n192.0.2.1\tdb\n::1\tdb\n10.0.0.2\tdb more\n10.0.0.3\tdb\n"
	if got := string(MoveHosts([]byte(text), []string{"db", "abc"}, addrs("10.0.0.3")[0], []string{"db:192.0.2.1"})); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
