package near

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestFlowsEnd: a flow ends when there has been silence for long enough, when the server closes, and, where there are as many as can be, when
// another begins.
func TestFlowsEnd(t *testing.T) {
	s := New(slog.New(slog.NewTextHandler(io.Discard, nil)))
	s.places = make(chan struct{}, 2)
	any6, err := net.ListenPacket("udp6", "[::]:0")
	if err != nil {
		t.Skip("this machine has no IPv6, by which the server listens: ", err)
	}
	any6.Close()
	if s.Open(func(uint8, netip.AddrPort) (netip.AddrPort, bool) { return netip.AddrPort{}, false }) == 0 {
		t.Fatal("no socket is opened where the machine has IPv6")
	}
	defer s.Close()
	flows := map[uint16]*flow{}
	begin := func(port uint16, idle time.Duration) *flow {
		t.Helper()
		container, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
		if err != nil {
			t.Fatal(err)
		}
		f := &flow{key: flowKey{client: netip.AddrPortFrom(netip.IPv6Loopback(), port)}, container: container}
		f.last.Store(time.Now().Add(-idle).UnixNano())
		if !s.begin(f) {
			t.Fatal("a server that is open takes no flow")
		}
		flows[port] = f
		s.work.Go(func() { s.answer(s.packets, f) })
		return f
	}
	gone := func(f *flow) bool {
		for range 100 {
			if s.mu.Lock(); s.flows[f.key] != f {
				s.mu.Unlock()
				return true
			}
			s.mu.Unlock()
			time.Sleep(20 * time.Millisecond)
		}
		return false
	}
	if !gone(begin(1, silence)) {
		t.Error("a flow goes on that has been silent")
	}
	begin(2, time.Second)
	begin(3, 2*time.Second)
	begin(4, 0)
	if !gone(flows[3]) {
		t.Error("the flow that was silent the longest goes on where there is no room")
	}
	s.mu.Lock()
	left := len(s.flows)
	s.mu.Unlock()
	if left != 2 {
		t.Errorf("%d flows are left", left)
	}
	s.Close()
	if !gone(flows[2]) || !gone(flows[4]) || s.begin(flows[2]) {
		t.Error("flows go on after the server")
	}
}
