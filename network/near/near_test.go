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
