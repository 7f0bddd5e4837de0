package near

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
)

// TestWithdrawnMeanwhile: a connection that begins while its port is withdrawn does not go on, though Check has not seen it.
func TestWithdrawnMeanwhile(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	connect := func() *relay {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return &relay{client: client.(*net.TCPConn), dialled: netip.MustParseAddrPort("[fe80::1]:80")}
	}
	to := netip.MustParseAddrPort("172.18.0.2:80")
	s := New(slog.New(slog.NewTextHandler(io.Discard, nil)))
	defer s.Close()
	published, withdraws := true, false
	s.leads = func(uint8, netip.AddrPort) (netip.AddrPort, bool) {
		was := published
		if withdraws && published {
			published = false
			s.Check()
		}
		return to, was
	}
	r := connect()
	defer s.cut(r)
	if !s.begins(r) || r.to != to {
		t.Error("a connection to a published port does not begin")
	}
	withdraws = true
	late := connect()
	defer s.cut(late)
	if s.begins(late) {
		t.Error("a connection begins by a port that was withdrawn meanwhile")
	}
	if s.mu.Lock(); s.relays[r] {
		t.Error("a connection goes on by a port that is withdrawn")
	}
	s.mu.Unlock()
}

// TestDialsAsTheHostDoes: the container is connected to by the port of 127.0.0.1 where that leads to the same place, and not once it leads elsewhere.
func TestDialsAsTheHostDoes(t *testing.T) {
	listen := func() netip.AddrPort {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return netip.MustParseAddrPort(l.Addr().String())
	}
	container, published := listen(), listen()
	s := New(slog.New(slog.NewTextHandler(io.Discard, nil)))
	defer s.Close()
	r := &relay{dialled: netip.AddrPortFrom(netip.IPv6Loopback(), published.Port()), to: container}
	for what, c := range map[string]struct {
		answers []netip.AddrPort // where the port of 127.0.0.1 leads, at one time after the other
		want    netip.AddrPort   // the zero value where it is refused
	}{
		"published on both families":  {[]netip.AddrPort{container, container}, published},
		"published on IPv6 alone":     {[]netip.AddrPort{{}}, container},
		"another container's on IPv4": {[]netip.AddrPort{netip.MustParseAddrPort("172.18.0.9:80")}, container},
		"withdrawn meanwhile":         {[]netip.AddrPort{container, {}}, netip.AddrPort{}},
	} {
		left := c.answers
		s.leads = func(_ uint8, dialled netip.AddrPort) (at netip.AddrPort, known bool) {
			if dialled != published {
				t.Errorf("%s: asked for %s", what, dialled)
			}
			at, left = left[0], left[1:]
			return at, at.IsValid()
		}
		made, err := s.dial(r)
		if err == nil {
			if got := made.RemoteAddr().String(); got != c.want.String() {
				t.Errorf("%s: connected to %s, want %s", what, got, c.want)
			}
			made.Close()
		} else if c.want.IsValid() {
			t.Errorf("%s: %v", what, err)
		}
		if len(left) > 0 {
			t.Errorf("%s: not asked again", what)
		}
	}
}
