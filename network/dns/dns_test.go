package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// place is one container's server and the other servers it may ask.
type place struct {
	t       *testing.T
	address string
	r       *Resolver
	sockets *Sockets
	config  Config
}

func start(t *testing.T, servers ...Server) *place {
	t.Helper()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp4", udp.LocalAddr().String())
	if err != nil {
		t.Skipf("needs the same port for UDP and TCP: %v", err)
	}
	defer tcp.Close()
	p := &place{t: t, address: udp.LocalAddr().String(), sockets: &Sockets{}}
	if p.sockets.UDP, err = udp.(*net.UDPConn).File(); err != nil {
		t.Fatal(err)
	}
	if p.sockets.TCP, err = tcp.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	known := map[string][]netip.Addr{
		"web":   {netip.MustParseAddr("10.0.0.2")},
		"api":   {netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")},
		"six":   {netip.MustParseAddr("fd00::2")},
		"large": nil,
	}
	for i := range 200 {
		known["large"] = append(known["large"], netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}))
	}
	p.config = Config{
		Lookup: func(name string) ([]netip.Addr, bool) {
			a, ok := known[strings.ToLower(name)]
			return slices.Clone(a), ok
		},
		Reverse: func(a netip.Addr) (string, bool) { return "web.n", a == known["web"][0] || a == known["six"][0] },
		Servers: func() []Server { return servers },
		Dial: func(ctx context.Context, network string, to Server) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, to.Address.String())
		},
	}
	p.serve()
	t.Cleanup(func() {
		p.r.Close()
		p.sockets.Close()
	})
	return p
}

func (p *place) serve() {
	p.t.Helper()
	var err error
	if p.r, err = Open(p.sockets, p.config); err != nil {
		p.t.Fatal(err)
	}
	p.r.Start()
}

func (p *place) ask(network, name string, kind uint16) *dns.Msg {
	p.t.Helper()
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	answer, _, err := (&dns.Client{Net: network, Timeout: 10 * time.Second}).Exchange(q, p.address)
	if err != nil {
		p.t.Fatalf("%s by %s: %v", name, network, err)
	}
	return answer
}

// other is a name server of the world; it answers each A question with 192.0.2.1, or with the code.
func other(t *testing.T, code int) (Server, *atomic.Int64) {
	t.Helper()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp4", udp.LocalAddr().String())
	if err != nil {
		t.Skipf("needs the same port for UDP and TCP: %v", err)
	}
	asked := new(atomic.Int64)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		m := new(dns.Msg).SetRcode(q, code)
		if code == dns.RcodeSuccess {
			rr, _ := dns.NewRR(q.Question[0].Name + " 60 A 192.0.2.1")
			m.Answer = append(m.Answer, rr)
		}
		w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}} {
		go s.ActivateAndServe()
		t.Cleanup(func() { s.Shutdown() })
	}
	return Server{Address: netip.MustParseAddrPort(udp.LocalAddr().String())}, asked
}

func TestAnswers(t *testing.T) {
	world, asked := other(t, dns.RcodeSuccess)
	p := start(t, world)
	for _, tc := range []struct {
		name    string
		kind    uint16
		answers int
		text    string
	}{
		{"web", dns.TypeA, 1, "10.0.0.2"},
		{"WEB", dns.TypeA, 1, "10.0.0.2"},
		{"web", dns.TypeAAAA, 0, ""},
		{"web", dns.TypeMX, 0, ""},
		{"api", dns.TypeA, 2, "10.0.0."},
		{"six", dns.TypeAAAA, 1, "fd00::2"},
		{"six", dns.TypeA, 0, ""},
		{"2.0.0.10.in-addr.arpa", dns.TypePTR, 1, "web.n."},
		{"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", dns.TypePTR, 1, "web.n."},
	} {
		for _, network := range []string{"udp", "tcp"} {
			m := p.ask(network, tc.name, tc.kind)
			if m.Rcode != dns.RcodeSuccess || len(m.Answer) != tc.answers || !m.RecursionAvailable {
				t.Errorf("%s %d by %s: %v", tc.name, tc.kind, network, m)
			}
			for _, rr := range m.Answer {
				if !strings.Contains(rr.String(), tc.text) {
					t.Errorf("%s: %s", tc.name, rr)
				}
			}
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the world was asked %d times for what containers are called", n)
	}
	for _, network := range []string{"udp", "tcp"} {
		if m := p.ask(network, "example.org", dns.TypeA); len(m.Answer) != 1 || !strings.Contains(m.Answer[0].String(), "192.0.2.1") {
			t.Errorf("the world by %s: %v", network, m)
		}
	}
}

func TestRoundRobin(t *testing.T) {
	p := start(t)
	first := map[string]int{}
	for range 60 {
		first[p.ask("udp", "api", dns.TypeA).Answer[0].(*dns.A).A.String()]++
	}
	if len(first) != 2 {
		t.Errorf("the first of two: %v", first)
	}
}

func TestLargeAnswers(t *testing.T) {
	p := start(t)
	m := p.ask("udp", "large", dns.TypeA)
	m.Compress = true // as it travelled
	if !m.Truncated || m.Len() > dns.MinMsgSize || len(m.Answer) == 0 {
		t.Errorf("by UDP: %d bytes, truncated %v", m.Len(), m.Truncated)
	}
	if m := p.ask("tcp", "large", dns.TypeA); m.Truncated || len(m.Answer) != 200 {
		t.Errorf("by TCP: %d answers", len(m.Answer))
	}
}

func TestServersInOrder(t *testing.T) {
	broken, _ := other(t, dns.RcodeServerFailure)
	none, asked := other(t, dns.RcodeNameError)
	good, never := other(t, dns.RcodeSuccess)
	closed := Server{Address: netip.MustParseAddrPort("127.0.0.1:1")}
	p := start(t, closed, broken, none, good)
	if m := p.ask("udp", "nosuch.example", dns.TypeA); m.Rcode != dns.RcodeNameError || asked.Load() != 1 || never.Load() != 0 {
		t.Errorf("%v", m)
	}
	q := start(t, closed, broken)
	if m := q.ask("udp", "x.example", dns.TypeA); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("only broken ones: %v", m)
	}
	if m := start(t).ask("tcp", "x.example", dns.TypeA); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("no servers: %v", m)
	}
}

// TestQuestionsWait: what is asked while nobody serves is answered by who serves next.
func TestQuestionsWait(t *testing.T) {
	p := start(t)
	p.r.Close()
	answers := make(chan error, 2)
	for _, network := range []string{"udp", "tcp"} {
		go func() {
			q := new(dns.Msg).SetQuestion("web.", dns.TypeA)
			m, _, err := (&dns.Client{Net: network, Timeout: 5 * time.Second}).Exchange(q, p.address)
			if err == nil && len(m.Answer) != 1 {
				err = errors.New(m.String())
			}
			answers <- err
		}()
	}
	time.Sleep(300 * time.Millisecond)
	p.serve()
	for range 2 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

// TestNonsense: what is no question is answered by an error or not at all, and the server goes on.
func TestNonsense(t *testing.T) {
	p := start(t)
	conn, err := net.Dial("udp4", p.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	two := new(dns.Msg).SetQuestion("web.", dns.TypeA)
	two.Question = append(two.Question, two.Question[0])
	raw, _ := two.Pack()
	update := new(dns.Msg)
	update.SetUpdate("example.")
	notice, _ := update.Pack()
	for _, packet := range [][]byte{{}, {0}, []byte(strings.Repeat("\xff", 600)), raw, notice} {
		conn.Write(packet)
	}
	if m := p.ask("udp", "web", dns.TypeA); len(m.Answer) != 1 {
		t.Errorf("after nonsense: %v", m)
	}
}

func FuzzAnswer(f *testing.F) {
	q, _ := new(dns.Msg).SetQuestion("web.", dns.TypeA).Pack()
	f.Add(q)
	r := &Resolver{slots: make(chan struct{}, 1), ctx: context.Background(), config: Config{
		Lookup: func(name string) ([]netip.Addr, bool) {
			return []netip.Addr{netip.MustParseAddr("10.0.0.2")}, name == "web"
		},
		Reverse: func(netip.Addr) (string, bool) { return "web", true },
		Servers: func() []Server { return nil },
	}}
	f.Fuzz(func(t *testing.T, packet []byte) {
		m := new(dns.Msg)
		if m.Unpack(packet) != nil {
			return
		}
		if answer := r.answer(m, false); answer != nil {
			if _, err := answer.Pack(); err != nil {
				t.Errorf("%v: %v", answer, err)
			}
		}
	})
}

// TestFlood: what one container asks too fast is dropped, no more than so much is worked on at once, and it goes on.
func TestFlood(t *testing.T) {
	p := start(t)
	release := make(chan struct{})
	var now, most atomic.Int64
	p.r.Close()
	lookup := p.config.Lookup
	p.config.Lookup = func(name string) ([]netip.Addr, bool) {
		for n := now.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		<-release
		now.Add(-1)
		return lookup(name)
	}
	p.serve()
	conn, err := net.Dial("udp4", p.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, _ := new(dns.Msg).SetQuestion("web.", dns.TypeA).Pack()
	for range 4 * mostPackets {
		conn.Write(raw)
	}
	for deadline := time.Now().Add(time.Second); now.Load() < mostPackets && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	close(release)
	if n := most.Load(); n > mostPackets || n < mostPackets/8 {
		t.Errorf("%d questions were worked on at once", n)
	}
	// A question that comes while the rest of the flood is being dropped may go with it: clients ask again, and so do we.
	q := new(dns.Msg).SetQuestion("api.", dns.TypeA)
	for deadline := time.Now().Add(20 * time.Second); ; {
		m, _, err := (&dns.Client{Timeout: time.Second}).Exchange(q, p.address)
		if err == nil && len(m.Answer) == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a flood: %v, %v", m, err)
		}
	}
}

// TestManyStreams: idle connections keep the server from nothing but more of them, for a while.
func TestManyStreams(t *testing.T) {
	p := start(t)
	for range 2 * mostStreams {
		conn, err := net.Dial("tcp4", p.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if m := p.ask("udp", "web", dns.TypeA); len(m.Answer) != 1 {
		t.Errorf("beside idle connections: %v", m)
	}
	if m := p.ask("tcp", "web", dns.TypeA); len(m.Answer) != 1 {
		t.Errorf("after idle connections: %v", m)
	}
}

// TestDeafStream: a client that does not read its answers does not keep the server from closing.
func TestDeafStream(t *testing.T) {
	p := start(t)
	deaf, err := net.Dial("tcp4", p.address)
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	raw, _ := new(dns.Msg).SetQuestion("large.", dns.TypeA).Pack()
	raw = append([]byte{byte(len(raw) >> 8), byte(len(raw))}, raw...)
	deaf.SetWriteDeadline(time.Now().Add(time.Second))
	for {
		if _, err := deaf.Write(raw); err != nil {
			break // it has stopped reading, for its answers are not taken
		}
	}
	closed := make(chan struct{})
	go func() { p.r.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(3 * patience):
		t.Fatal("a client that does not read keeps the server from closing")
	}
	p.serve()
}
