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
