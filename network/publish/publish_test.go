package publish

import (
	"errors"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/api"
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
			[]Wish{{Inside: port("80/tcp"), Host: one, From: 8080, UpTo: 8080}, {Inside: port("80/tcp"), Host: all, From: 8000, UpTo: 8010}, {Inside: port("80/udp"), Host: all, From: 0, UpTo: 0}, {Inside: port("443/tcp"), Host: all, From: 8443, UpTo: 8443}}, nil,
		},
		{
			"all that is exposed", Asked{All: true, Exposed: nt.PortSet{port("81/tcp"): {}, port("80/tcp"): {}}, Ports: nt.PortMap{port("81/tcp"): {{HostPort: "1"}}}},
			[]Wish{{Inside: port("81/tcp"), Host: all, From: 1, UpTo: 1}, {Inside: port("80/tcp"), Host: all, From: 0, UpTo: 0}}, nil,
		},
		{"IPv4 in IPv6", Asked{Ports: nt.PortMap{port("80/tcp"): {{HostIP: netip.MustParseAddr("::ffff:127.0.0.1")}}}}, []Wish{{Inside: port("80/tcp"), Host: one, From: 0, UpTo: 0}}, nil},
		{"IPv6", Asked{Ports: nt.PortMap{port("80/tcp"): {{HostIP: netip.IPv6Loopback()}}}}, []Wish{{Inside: port("80/tcp"), Host: netip.IPv6Loopback()}}, nil},
		{
			"both by hand", Asked{Ports: nt.PortMap{port("80/tcp"): {{HostIP: all, HostPort: "80"}, {HostIP: netip.IPv6Unspecified(), HostPort: "80"}}}},
			[]Wish{{Inside: port("80/tcp"), Host: all, From: 80, UpTo: 80, Both: true}}, nil,
		},
		{
			"both, on two ports", Asked{Ports: nt.PortMap{port("80/tcp"): {{HostIP: all, HostPort: "80"}, {HostIP: netip.IPv6Unspecified(), HostPort: "81"}}}},
			[]Wish{{Inside: port("80/tcp"), Host: all, From: 80, UpTo: 80}, {Inside: port("80/tcp"), Host: netip.IPv6Unspecified(), From: 81, UpTo: 81}}, nil,
		},
		{"unknown protocol", Asked{Ports: nt.PortMap{port("80/icmp"): {{}}}}, nil, errdefs.IsInvalidArgument},
		{"SCTP", Asked{Ports: nt.PortMap{port("80/sctp"): {{}}}}, nil, errdefs.IsNotImplemented},
		{"SCTP with all", Asked{All: true, Exposed: nt.PortSet{port("80/sctp"): {}}}, nil, errdefs.IsNotImplemented},
		{"no port", Asked{Ports: nt.PortMap{port("80/tcp"): {{HostPort: "x"}}}}, nil, errdefs.IsInvalidArgument},
		{"too high", Asked{Ports: nt.PortMap{port("80/tcp"): {{HostPort: "70000"}}}}, nil, errdefs.IsInvalidArgument},
		{"backwards", Asked{Ports: nt.PortMap{port("80/tcp"): {{HostPort: "9-8"}}}}, nil, errdefs.IsInvalidArgument},
	} {
		got, err := Wishes(tc.req, all, false)
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

func (f fakeSockets) host() host {
	return host{f.reserve, func() (servers, error) { return f.servers(), nil }, func(nt.IPProtocol, netip.AddrPort) string { return "nginx (process 7)" }}
}

func (f fakeSockets) servers() servers {
	all := servers{}
	for text := range f {
		at := netip.MustParseAddrPort(text)
		all[held{nt.TCP, at.Port()}] = append(all[held{nt.TCP, at.Port()}], server{address: at.Addr()})
	}
	return all
}

func (f fakeSockets) reserve(proto nt.IPProtocol, at netip.AddrPort) (io.Closer, error) {
	if f[at.String()] {
		return nil, syscall.EADDRINUSE
	}
	return io.NopCloser(nil), nil
}

func TestPortsAreTakenOnce(t *testing.T) {
	p := newTaken(fakeSockets{"0.0.0.0:8001": true}.host())
	all := netip.IPv4Unspecified()
	ask := func(inside string, host netip.Addr, from, upTo uint16) string {
		at, _, err := p.Take([]Wish{{Inside: port(inside), Host: host, From: from, UpTo: upTo}})
		if err != nil {
			return err.Error()
		}
		return netip.AddrPortFrom(host, at[0]).String()
	}
	for _, tc := range []struct{ got, want string }{
		{ask("80/tcp", all, 8000, 8000), "0.0.0.0:8000"},
		{ask("80/tcp", all, 8000, 8000), "Bind for 0.0.0.0:8000 failed: port is already allocated"},
		{ask("80/udp", all, 8000, 8000), "0.0.0.0:8000"},
		{ask("80/tcp", netip.MustParseAddr("127.0.0.1"), 8000, 8000), "Bind for 127.0.0.1:8000 failed: port is already allocated"},
		{ask("80/tcp", all, 8001, 8001), "failed to bind host port 0.0.0.0:8001/tcp: address already in use by nginx (process 7)"},
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

// TestWhoCanHaveOnePortHasIt: whatever the order, and who asks for the same on several addresses has one number.
func TestWhoCanHaveOnePortHasIt(t *testing.T) {
	low, _ := ephemeralRange()
	p := newTaken(fakeSockets{"127.0.0.1:8001": true}.host())
	all, four, six := netip.IPv4Unspecified(), netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
	at, _, err := p.Take([]Wish{
		{Inside: port("80/tcp"), Host: all},
		{Inside: port("81/tcp"), Host: all, From: 8000, UpTo: 8001},
		{Inside: port("82/tcp"), Host: all, From: low, UpTo: low},
		{Inside: port("83/tcp"), Host: all, From: 8000, UpTo: 8000},
		{Inside: port("84/tcp"), Host: six, From: 8001, UpTo: 8003},
		{Inside: port("84/tcp"), Host: four, From: 8001, UpTo: 8003},
		{Inside: port("85/tcp"), Host: four},
		{Inside: port("85/tcp"), Host: six},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []uint16{low + 1, 8001, low, 8000, 8002, 8002, low + 2, low + 2}; !slices.Equal(at, want) {
		t.Errorf("%v, want %v", at, want)
	}
	refused := Wish{Inside: port("86/tcp"), Host: all, From: low, UpTo: low}
	if _, who, err := p.Take([]Wish{{Inside: port("87/tcp"), Host: all, From: 9000, UpTo: 9001}, refused}); err == nil || who != refused {
		t.Errorf("%v %+v", err, who)
	}
	if _, _, err := p.Take([]Wish{{Inside: port("87/tcp"), Host: all, From: 9000, UpTo: 9000}}); err != nil {
		t.Errorf("what was taken before the refusal: %v", err)
	}
}

// TestPortsOfBothFamilies: one number for both, or none, and each family has its own otherwise.
func TestPortsOfBothFamilies(t *testing.T) {
	p := newTaken(fakeSockets{"[::]:8001": true}.host())
	four, six := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	take := func(w Wish) string {
		at, _, err := p.Take([]Wish{w})
		if err != nil {
			return err.Error()
		}
		return strconv.Itoa(int(at[0]))
	}
	for _, tc := range []struct {
		w    Wish
		want string
	}{
		{Wish{Host: four, From: 8001, UpTo: 8002, Both: true}, "8002"},
		{Wish{Host: four, From: 8001, UpTo: 8001}, "8001"},
		{Wish{Host: six, From: 8002, UpTo: 8002}, "Bind for [::]:8002 failed: port is already allocated"},
		{Wish{Host: netip.IPv6Loopback(), From: 8002, UpTo: 8003}, "8003"},
		{Wish{Host: four, From: 8003, UpTo: 8003, Both: true}, "Bind for [::]:8003 failed: port is already allocated"},
		{Wish{Host: four, From: 8003, UpTo: 8003}, "8003"},
	} {
		tc.w.Inside = port("80/tcp")
		if got := take(tc.w); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.w, got, tc.want)
		}
	}
	to, to6 := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")
	w := Wish{Inside: port("80/tcp"), Host: four, Both: true}
	both, err := Bind(w, 8002, Way{Side{To: to}, Side{To: to6}})
	if err != nil {
		t.Fatal(err)
	}
	if got := Published([]Binding{both}, Sources{all: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}); len(got.Ports) != 2 || got.Ports[1].Host.String() != "[::]:8002" ||
		got.Ports[1].Target.String() != "[fd00::2]:80" || len(got.Limits) != 2 || got.Limits[1].Source.String() != "::/128" {
		t.Errorf("%+v", got)
	}
	p.GiveBack([]Binding{both})
	if got := take(Wish{Inside: port("80/tcp"), Host: six, From: 8002, UpTo: 8002}); got != "8002" {
		t.Errorf("given back: %s", got)
	}
	for _, w := range []Wish{{Inside: port("80/tcp"), Host: six}, {Inside: port("80/tcp"), Host: netip.IPv6Loopback()}} {
		if _, err := Bind(w, 80, Way{Four: Side{To: to}}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("without IPv6: %v", err)
		}
	}
}

func TestAnyPortGoesRound(t *testing.T) {
	low, _ := ephemeralRange()
	p := newTaken(fakeSockets{netip.AddrPortFrom(netip.IPv4Unspecified(), low+1).String(): true}.host())
	w := Wish{Inside: port("80/tcp"), Host: netip.IPv4Unspecified()}
	first, _, err := p.Take([]Wish{w})
	if err != nil || first[0] != low {
		t.Fatalf("first: %v %v", first, err)
	}
	p.GiveBack([]Binding{{Inside: w.Inside, Host: netip.AddrPortFrom(w.Host, first[0])}})
	if second, _, err := p.Take([]Wish{w}); err != nil || second[0] != low+2 {
		t.Errorf("second: %v %v", second, err)
	}
	broken := newTaken(host{reserve: func(nt.IPProtocol, netip.AddrPort) (io.Closer, error) { return nil, errors.New("broken") }})
	if _, _, err := broken.Take([]Wish{w}); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("an error that is not about the port: %v", err)
	}
}

// TestGivenBackIsFree: a port that was just given back, and that a process which is being started still holds, is waited for.
func TestGivenBackIsFree(t *testing.T) {
	tries := 0
	h := fakeSockets{}.host()
	h.reserve = func(nt.IPProtocol, netip.AddrPort) (io.Closer, error) {
		if tries++; tries == 2 || tries == 3 {
			return nil, syscall.EADDRINUSE
		}
		return io.NopCloser(nil), nil
	}
	p := newTaken(h)
	w := Wish{Inside: port("80/tcp"), Host: netip.IPv4Unspecified(), From: 8000, UpTo: 8000}
	if _, _, err := p.Take([]Wish{w}); err != nil {
		t.Fatal(err)
	}
	p.GiveBack([]Binding{{Inside: w.Inside, Host: netip.AddrPortFrom(w.Host, 8000)}})
	if _, _, err := p.Take([]Wish{w}); err != nil || tries != 4 {
		t.Errorf("%v after %d tries", err, tries)
	}
}

func TestManyPortsAreLookedUpAndNotHeld(t *testing.T) {
	all := netip.IPv4Unspecified()
	row := func(from, n int) (wanted []Wish) {
		for i := range n {
			number := uint16(from + i)
			inside, _ := nt.PortFrom(number, nt.TCP)
			wanted = append(wanted, Wish{Inside: inside, Host: all, From: number, UpTo: number})
		}
		return wanted
	}
	in := fakeSockets{"127.0.0.1:10500": true}
	h := in.host()
	h.reserve = func(nt.IPProtocol, netip.AddrPort) (io.Closer, error) { t.Error("a port was held"); return nil, nil }
	p := newTaken(h)
	_, refused, err := p.Take(row(10000, 1000))
	if !errors.Is(err, syscall.EADDRINUSE) || refused.From != 10500 {
		t.Errorf("a port that a program has: %v %v", refused, err)
	}
	if len(p.held) != 0 {
		t.Errorf("%d ports are left of what was refused", len(p.held))
	}
	if at, _, err := p.Take(row(10501, 1000)); err != nil || len(at) != 1000 || at[999] != 11500 {
		t.Errorf("free ones: %v", err)
	}
	if _, refused, err := p.Take(row(11000, 100)); !errors.Is(err, errAllocated) || refused.From != 11000 {
		t.Errorf("ours: %v %v", refused, err)
	}
	h.servers = func() (servers, error) { return nil, errors.New("no such question") }
	tried := 0
	h.reserve = func(nt.IPProtocol, netip.AddrPort) (io.Closer, error) { tried++; return io.NopCloser(nil), nil }
	if _, _, err := newTaken(h).Take(row(1000, 100)); err != nil || tried != 100 {
		t.Errorf("where the kernel cannot be asked: %v, %d tried", err, tried)
	}
}

func TestRowsAreOneElement(t *testing.T) {
	var all []Binding
	for n := range uint16(1000) {
		inside, _ := nt.PortFrom(20000+n, nt.UDP)
		all = append(all, Binding{Inside: inside, Host: netip.AddrPortFrom(netip.IPv4Unspecified(), 20000+n), Target: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), 20000+n)})
	}
	from, err := ReadSources(map[string]string{api.PublishFrom: "10.1.0.0/16,10.1.2.3, 192.0.2.7", "other": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if got := Published(all, from); len(got.Ports) != 1 || got.Ports[0].More != 999 || len(got.Limits) != 2 || got.Limits[1].More != 999 {
		t.Errorf("one row: %+v", got)
	}
	got := Published(slices.Concat(all[:500], all[501:]), Sources{})
	if len(got.Ports) != 2 || got.Ports[0].More != 499 || got.Ports[1].More != 498 || got.Limits != nil {
		t.Errorf("two rows: %+v", got)
	}
	if got := Published(all[:longRow-1], Sources{}); len(got.Ports) != longRow-1 {
		t.Errorf("a short row: %+v", got)
	}
	for i := range all {
		to := netip.AddrPortFrom(all[i].Target.Addr(), all[i].Host.Port()+1000)
		all[i].Target, all[i].Target6 = to, to
	}
	if got := Published(all, Sources{}); len(got.Ports) != 1001 || got.Ports[1000].More != 999 || !got.Ports[1000].Relayed() {
		t.Errorf("a row to other numbers, which only what is relayed can be: %d ports, the last %+v", len(got.Ports), got.Ports[len(got.Ports)-1])
	}
}

func TestSources(t *testing.T) {
	s, err := ReadSources(map[string]string{api.PublishFrom: "10.0.0.0/8", api.PublishFrom + ".443/tcp": "0.0.0.0/0", api.PublishFrom + "x": "y"})
	if err != nil || s.Of(port("80/tcp"))[0].String() != "10.0.0.0/8" || s.Of(port("443/tcp"))[0].Bits() != 0 {
		t.Errorf("%+v %v", s, err)
	}
	for _, text := range []string{"", "x", "10.0.0.0/33", "10.0.0.1,"} {
		if _, err := ReadSources(map[string]string{api.PublishFrom: text}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := ReadSources(map[string]string{api.PublishFrom + ".http": "10.0.0.0/8"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("no port: %v", err)
	}
}

func TestBindingsReadBackWhatIsShown(t *testing.T) {
	address, six := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")
	all := []Binding{
		{Inside: port("80/tcp"), Host: netip.MustParseAddrPort("0.0.0.0:8080"), Target: netip.MustParseAddrPort("10.0.0.2:80")},
		{Inside: port("80/tcp"), Host: netip.MustParseAddrPort("127.0.0.1:81"), Target: netip.MustParseAddrPort("10.0.0.2:80")},
		{Inside: port("81/tcp"), Host: netip.MustParseAddrPort("0.0.0.0:8081"), Target: netip.MustParseAddrPort("10.0.0.2:81"), Target6: netip.MustParseAddrPort("[fd00::2]:81")},
		{Inside: port("82/tcp"), Host: netip.MustParseAddrPort("[::1]:8082"), Target: netip.MustParseAddrPort("[fd00::2]:82")},
		{Inside: port("90/udp"), Host: netip.MustParseAddrPort("0.0.0.0:90"), Target: netip.MustParseAddrPort("10.0.0.2:90")},
	}
	got := Bindings(Way{Side{To: address}, Side{To: six}}, Shown(nt.PortSet{port("99/tcp"): {}}, all))
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
