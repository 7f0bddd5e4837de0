package publish

import (
	"net/netip"
	"slices"
	"testing"

	nt "github.com/moby/moby/api/types/network"
)

// TestRoutedWays: what is wished for is fitted to the way, bound, shown and read back; where it is routed no port of the host is taken.
func TestRoutedWays(t *testing.T) {
	four, six := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")
	all4, all6, one := netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("127.0.0.1")
	eighty := port("80/tcp")
	asked := []Wish{
		{Inside: eighty, Host: all4, From: 8080, UpTo: 8080, Both: true},
		{Inside: eighty, Host: one, From: 8081, UpTo: 8081},
		{Inside: eighty, Host: netip.IPv6Loopback()},
	}
	for _, tc := range []struct {
		name  string
		way   Way
		want  []Wish
		shown []nt.PortBinding
		open  int // how many ports are reached at the container's own addresses
	}{
		{
			"nat", Way{Side{To: four}, Side{To: six}}, asked,
			[]nt.PortBinding{{HostIP: all4, HostPort: "8080"}, {HostIP: all6, HostPort: "8080"}, {HostIP: one, HostPort: "8081"}, {HostIP: netip.IPv6Loopback(), HostPort: "9999"}}, 0,
		},
		{
			"routed", Way{Side{To: four, Routed: true}, Side{To: six, Routed: true}},
			[]Wish{{Inside: eighty, Host: all4, Routed: true}, {Inside: eighty, Host: all6, Routed: true}},
			[]nt.PortBinding{{HostIP: all4}, {HostIP: all6}}, 2,
		},
		{
			"IPv6 routed", Way{Side{To: four}, Side{To: six, Routed: true}},
			[]Wish{{Inside: eighty, Host: all4, From: 8080, UpTo: 8080}, {Inside: eighty, Host: all6, Routed: true}, asked[1]},
			[]nt.PortBinding{{HostIP: all4, HostPort: "8080"}, {HostIP: all6}, {HostIP: one, HostPort: "8081"}}, 1,
		},
		{
			"reached directly, too", Way{Side{To: four, Direct: true}, Side{To: six, Direct: true}}, asked,
			[]nt.PortBinding{{HostIP: all4, HostPort: "8080"}, {HostIP: all6, HostPort: "8080"}, {HostIP: one, HostPort: "8081"}, {HostIP: netip.IPv6Loopback(), HostPort: "9999"}}, 2,
		},
		{
			"relayed", Way{Side{To: four, Direct: true}, Side{To: four}}, asked,
			[]nt.PortBinding{{HostIP: all4, HostPort: "8080"}, {HostIP: all6, HostPort: "8080"}, {HostIP: one, HostPort: "8081"}, {HostIP: netip.IPv6Loopback(), HostPort: "9999"}}, 1,
		},
	} {
		fitted := tc.way.Fit(asked)
		if !slices.Equal(fitted, tc.want) {
			t.Errorf("%s: %+v", tc.name, fitted)
		}
		var bound []Binding
		for _, w := range fitted {
			number := w.From
			if number == 0 && !w.Routed {
				number = 9999
			}
			b, err := Bind(w, number, tc.way)
			if err != nil {
				t.Fatal(err)
			}
			bound = append(bound, b)
		}
		shown := Shown(nil, bound)
		if !slices.Equal(shown[eighty], tc.shown) {
			t.Errorf("%s is shown as %+v", tc.name, shown)
		}
		if again := Bindings(tc.way, shown); !slices.Equal(again, bound) {
			t.Errorf("%s is read back as\n%+v, was\n%+v", tc.name, again, bound)
		}
		open := map[netip.AddrPort]bool{}
		for _, p := range Published(bound, Sources{}).Ports {
			if p.Opening() {
				open[p.Host] = true
			}
		}
		if len(open) != tc.open {
			t.Errorf("%s: %v", tc.name, open)
		}
	}
}

// TestRelayedWays: what is relayed leads to the container's one address, and is missed by nobody where the host has come to have it, or has it no
// more.
func TestRelayedWays(t *testing.T) {
	four := netip.MustParseAddr("10.0.0.2")
	relayed, bare := Way{Side{To: four}, Side{To: four}}, Way{Four: Side{To: four}}
	if all := relayed.All(); !slices.Equal(all, []netip.Addr{four}) {
		t.Errorf("it is reached at %v", all)
	}
	web, names := port("80/tcp"), port("53/udp")
	asked := []Wish{
		{Inside: web, Host: netip.IPv4Unspecified(), From: 8080, UpTo: 8080, Both: true},
		{Inside: names, Host: netip.IPv4Unspecified(), From: 53, UpTo: 53, Both: true},
	}
	var bound [2]Binding
	for i, w := range relayed.Fit(asked) {
		var err error
		if bound[i], err = Bind(w, w.From, relayed); err != nil {
			t.Fatal(err)
		}
	}
	if bound[0].Target6 != netip.AddrPortFrom(four, 80) || bound[1].Target6 != netip.AddrPortFrom(four, 53) {
		t.Errorf("bound: %+v", bound)
	}
	for _, p := range Published(bound[:], Sources{}).Ports {
		if p.Relayed() != p.Host.Addr().Is6() {
			t.Errorf("published: %+v", p)
		}
	}
	if _, err := Bind(Wish{Inside: names, Host: netip.IPv6Loopback()}, 53, bare); err == nil {
		t.Error("there is no way from IPv6, but it is bound")
	}
	alone, err := Bind(bare.Fit(asked)[0], 8080, bare)
	if err != nil || alone.both() {
		t.Fatalf("without IPv6: %+v %v", alone, err)
	}
	for _, tc := range []struct {
		have Binding
		way  Way
	}{{bound[0], relayed}, {alone, relayed}, {bound[0], bare}, {alone, bare}} {
		if _, missing, gone := Compare([]Binding{tc.have}, tc.way.Fit(asked[:1]), tc.way); len(missing)+len(gone) > 0 {
			t.Errorf("%+v is not enough for %+v", tc.have, tc.way)
		}
	}
}
