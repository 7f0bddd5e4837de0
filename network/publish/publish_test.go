package publish

import (
	"errors"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"
)

func TestWishes(t *testing.T) {
	all := netip.IPv4Unspecified()
	one := netip.MustParseAddr("127.0.0.1")
	for _, tc := range []struct {
		name string
		req  Asked
		want []Wish
		kind func(error) bool
	}{
		{"none", Asked{Exposed: nt.PortSet{port("80/tcp"): {}}}, nil, nil},
		{
			"in a fixed order", Asked{Ports: nt.PortMap{port("443/tcp"): {{HostPort: "8443"}}, port("80/udp"): {{}}, port("80/tcp"): {{HostIP: one, HostPort: "8080"}, {HostPort: "8000-8010"}}}},
			[]Wish{{port("80/tcp"), one, 8080, 8080}, {port("80/tcp"), all, 8000, 8010}, {port("80/udp"), all, 0, 0}, {port("443/tcp"), all, 8443, 8443}}, nil,
		},
		{
			"all that is exposed", Asked{All: true, Exposed: nt.PortSet{port("81/tcp"): {}, port("80/tcp"): {}}, Ports: nt.PortMap{port("81/tcp"): {{HostPort: "1"}}}},
			[]Wish{{port("81/tcp"), all, 1, 1}, {port("80/tcp"), all, 0, 0}}, nil,
		},
		{"IPv4 in IPv6", Asked{Ports: nt.PortMap{port("80/tcp"): {{HostIP: netip.MustParseAddr("::ffff:127.0.0.1")}}}}, []Wish{{port("80/tcp"), one, 0, 0}}, nil},
		{"IPv6", Asked{Ports: nt.PortMap{port("80/tcp"): {{HostIP: netip.IPv6Loopback()}}}}, nil, errdefs.IsNotImplemented},
		{"unknown protocol", Asked{Ports: nt.PortMap{port("80/icmp"): {{}}}}, nil, errdefs.IsInvalidArgument},
		{"no port", Asked{Ports: nt.PortMap{port("80/tcp"): {{HostPort: "x"}}}}, nil, errdefs.IsInvalidArgument},
		{"too high", Asked{Ports: nt.PortMap{port("80/tcp"): {{HostPort: "70000"}}}}, nil, errdefs.IsInvalidArgument},
		{"backwards", Asked{Ports: nt.PortMap{port("80/tcp"): {{HostPort: "9-8"}}}}, nil, errdefs.IsInvalidArgument},
	} {
		got, err := Wishes(tc.req, all)
		if tc.kind != nil {
			if !tc.kind(err) {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		if err != nil || len(got) != len(tc.want) {
			t.Errorf("%s: %v, %v", tc.name, got, err)
			continue
		}
		for i := range got {
			if got[i] != tc.want[i] {
				t.Errorf("%s: %v, want %v", tc.name, got[i], tc.want[i])
			}
		}
	}
}

// fakeSockets refuses the ports that another program has.
type fakeSockets map[string]bool

func (f fakeSockets) reserve(proto nt.IPProtocol, at netip.AddrPort) (io.Closer, error) {
	if f[at.String()] {
		return nil, syscall.EADDRINUSE
	}
	return io.NopCloser(nil), nil
}

func TestPortsAreTakenOnce(t *testing.T) {
	p := newTaken(fakeSockets{"0.0.0.0:8001": true}.reserve)
	all := netip.IPv4Unspecified()
	ask := func(inside string, host netip.Addr, from, upTo uint16) string {
		at, err := p.Take(Wish{port(inside), host, from, upTo})
		if err != nil {
			return err.Error()
		}
		return at.String()
	}
	for _, tc := range []struct{ got, want string }{
		{ask("80/tcp", all, 8000, 8000), "0.0.0.0:8000"},
		{ask("80/tcp", all, 8000, 8000), "Bind for 0.0.0.0:8000 failed: port is already allocated"},
		{ask("80/udp", all, 8000, 8000), "0.0.0.0:8000"},
		{ask("80/tcp", netip.MustParseAddr("127.0.0.1"), 8000, 8000), "Bind for 127.0.0.1:8000 failed: port is already allocated"},
		{ask("80/tcp", all, 8001, 8001), "failed to bind host port 0.0.0.0:8001/tcp: address already in use"},
		{ask("80/tcp", all, 8000, 8002), "0.0.0.0:8002"},
		{ask("80/tcp", all, 8000, 8002), "Bind for 0.0.0.0:8000 failed: port is already allocated"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %s, want %s", tc.got, tc.want)
		}
	}
	p.GiveBack([]Binding{{Inside: port("80/tcp"), Host: netip.MustParseAddrPort("0.0.0.0:8000")}})
	if got := ask("80/tcp", all, 8000, 8000); got != "0.0.0.0:8000" {
		t.Errorf("given back: %s", got)
	}
}

func TestAnyPortGoesRound(t *testing.T) {
	low, _ := ephemeralRange()
	p := newTaken(fakeSockets{netip.AddrPortFrom(netip.IPv4Unspecified(), low+1).String(): true}.reserve)
	w := Wish{Inside: port("80/tcp"), Host: netip.IPv4Unspecified()}
	first, err := p.Take(w)
	if err != nil || first.Port() != low {
		t.Fatalf("first: %v %v", first, err)
	}
	p.GiveBack([]Binding{{Inside: w.Inside, Host: first}})
	if second, err := p.Take(w); err != nil || second.Port() != low+2 {
		t.Errorf("second: %v %v", second, err)
	}
	broken := newTaken(func(nt.IPProtocol, netip.AddrPort) (io.Closer, error) { return nil, errors.New("broken") })
	if _, err := broken.Take(w); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("an error that is not about the port: %v", err)
	}
}

func TestBindingsReadBackWhatIsShown(t *testing.T) {
	address := netip.MustParseAddr("10.0.0.2")
	all := []Binding{
		{port("80/tcp"), netip.MustParseAddrPort("0.0.0.0:8080"), netip.MustParseAddrPort("10.0.0.2:80")},
		{port("80/tcp"), netip.MustParseAddrPort("127.0.0.1:81"), netip.MustParseAddrPort("10.0.0.2:80")},
		{port("90/udp"), netip.MustParseAddrPort("0.0.0.0:90"), netip.MustParseAddrPort("10.0.0.2:90")},
	}
	got := Bindings(address, Shown(nt.PortSet{port("99/tcp"): {}}, all))
	if len(got) != len(all) {
		t.Fatalf("got %v", got)
	}
	for i := range all {
		if got[i] != all[i] {
			t.Errorf("got %v, want %v", got[i], all[i])
		}
	}
}

func FuzzPortRange(f *testing.F) {
	f.Add("80")
	f.Add("8000-8010")
	f.Fuzz(func(t *testing.T, text string) {
		from, upTo, err := portRange(text)
		if err == nil && upTo < from {
			t.Errorf("%q: %d-%d", text, from, upTo)
		}
	})
}

func port(p string) nt.Port { return nt.MustParsePort(p) }
