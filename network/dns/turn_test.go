package dns

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// mute is a server that takes questions and says nothing.
func mute(t *testing.T) Server {
	t.Helper()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	return Server{Address: netip.MustParseAddrPort(udp.LocalAddr().String())}
}

// answering is a server that answers as it is told, after a while.
func answering(t *testing.T, after time.Duration, answer func(q *dns.Msg) *dns.Msg) Server {
	t.Helper()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp4", udp.LocalAddr().String())
	if err != nil {
		t.Skipf("needs the same port for UDP and TCP: %v", err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		time.Sleep(after)
		w.WriteMsg(answer(q))
	})
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}} {
		go s.ActivateAndServe()
		t.Cleanup(func() { s.Shutdown() })
	}
	return Server{Address: netip.MustParseAddrPort(udp.LocalAddr().String())}
}

func yes(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	rr, _ := dns.NewRR(q.Question[0].Name + " 60 A 192.0.2.1")
	m.Answer = append(m.Answer, rr)
	return m
}

func no(q *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(q, dns.RcodeNameError) }

// patient asks as a C library does: it waits for five seconds.
func patient(t *testing.T, p *place, name string) *dns.Msg {
	t.Helper()
	m, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), p.address)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return m
}

// TestMuteServers: with as many dead servers before it as resolv.conf has room for, the one that lives is heard in time.
func TestMuteServers(t *testing.T) {
	p := start(t, mute(t), mute(t), answering(t, 0, yes))
	if m := patient(t, p, "example.org."); len(m.Answer) != 1 {
		t.Errorf("%v", m)
	}
	p = start(t, mute(t), answering(t, 0, no))
	if m := patient(t, p, "example.org."); m.Rcode != dns.RcodeNameError {
		t.Errorf("no such name: %v", m)
	}
}

// TestSlowServerKnowsBetter: that a name is not there is not believed from the second while the first takes its time.
func TestSlowServerKnowsBetter(t *testing.T) {
	p := start(t, answering(t, slow+slow/2, yes), answering(t, 0, no))
	if m := patient(t, p, "inner.example."); len(m.Answer) != 1 {
		t.Errorf("%v", m)
	}
	p = start(t, answering(t, slow+slow/2, no), answering(t, 0, yes))
	if m := patient(t, p, "inner.example."); len(m.Answer) != 1 {
		t.Errorf("the second knows it: %v", m)
	}
}

// TestCompressedAnswers: what another server's answer holds that fits into one message by compression reaches the client.
func TestCompressedAnswers(t *testing.T) {
	const many, name = 3000, "a-rather-long-name-of-a-host.in-a-rather-long-name-of-a-domain.example."
	p := start(t, answering(t, 0, func(q *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Compress = true
		for i := range many {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
				A: net.IPv4(10, 0, byte(i>>8), byte(i))})
		}
		return m
	}))
	if m := p.ask("tcp", name, dns.TypeA); m.Rcode != dns.RcodeSuccess || len(m.Answer) != many {
		t.Errorf("code %d, %d answers", m.Rcode, len(m.Answer))
	}
}
