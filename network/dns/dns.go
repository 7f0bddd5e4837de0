// Package dns answers the name lookups of containers: what containers are called it knows from the engine, everything
// else it asks the servers that the host, or the user, names.
//
// Each container has a server of its own, at 127.0.0.11 in its network namespace. The sockets it listens on outlive the
// daemon (a container's supervisor keeps them open), so that a question asked while there is no daemon waits for the
// next one.
package dns

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Address is where a container finds its server, on port 53 of UDP and TCP.
var Address = netip.AddrFrom4([4]byte{127, 0, 0, 11})

const (
	// life is how long clients may remember the address of a container, in seconds: the next may have it soon.
	life = 5
	// patience is how long one server may take.
	patience = 3 * time.Second
	// mostForwarded is how many questions of one container may be on their way to other servers at once.
	mostForwarded = 256
	// mostBytes is the largest answer by UDP where the client takes so much.
	mostBytes = 4096
)

// Sockets are what one container's questions arrive at: a UDP socket and a listening TCP socket.
type Sockets struct{ UDP, TCP *os.File }

// Close closes both.
func (s *Sockets) Close() {
	s.UDP.Close()
	s.TCP.Close()
}

// Server is another name server.
type Server struct {
	Address netip.AddrPort
	// Host tells that it is asked from the host's network, not the container's.
	Host bool
}

// Config is what a container's server answers by.
type Config struct {
	// Lookup gives the addresses of a name, without a dot at its end, that a container has. Reverse gives the name to
	// an address. Both are called by several goroutines.
	Lookup  func(name string) (addresses []netip.Addr, known bool)
	Reverse func(address netip.Addr) (name string, known bool)
	// Servers are asked for all other names, in order, each question anew.
	Servers func() []Server
	// Dial connects to a server from where it is to be asked.
	Dial func(ctx context.Context, network string, to Server) (net.Conn, error)
}

func (r *Resolver) answer(q *dns.Msg, stream bool) *dns.Msg {
	switch {
	case q.Response:
		return nil
	case q.Opcode != dns.OpcodeQuery:
		return failure(q, dns.RcodeNotImplemented)
	case len(q.Question) != 1:
		return failure(q, dns.RcodeFormatError)
	}
	if answer := r.local(q); answer != nil {
		return answer
	}
	return r.forward(q, stream)
}

func failure(q *dns.Msg, code int) *dns.Msg {
	m := new(dns.Msg).SetRcode(q, code)
	m.RecursionAvailable = true
	return m
}

// local answers for names and addresses that containers have; nil for others.
func (r *Resolver) local(q *dns.Msg) *dns.Msg {
	ask := q.Question[0]
	if ask.Qclass != dns.ClassINET && ask.Qclass != dns.ClassANY {
		return nil
	}
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	if o := q.IsEdns0(); o != nil {
		m.SetEdns0(mostBytes, false)
	}
	head := func(kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: ask.Name, Rrtype: kind, Class: dns.ClassINET, Ttl: life}
	}
	if ask.Qtype == dns.TypePTR {
		address, ok := addressOf(ask.Name)
		if !ok {
			return nil
		}
		name, known := r.config.Reverse(address)
		if !known {
			return nil
		}
		m.Answer = append(m.Answer, &dns.PTR{Hdr: head(dns.TypePTR), Ptr: dns.Fqdn(name)})
		return m
	}
	addresses, known := r.config.Lookup(strings.TrimSuffix(ask.Name, "."))
	if !known {
		return nil
	}
	// Whoever takes the first of several gets each in turn. A name that is known has no records of other types, which
	// is not the same as no such name: clients would not ask for its address any more.
	rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	for _, a := range addresses {
		switch {
		case a.Is4() && (ask.Qtype == dns.TypeA || ask.Qtype == dns.TypeANY):
			m.Answer = append(m.Answer, &dns.A{Hdr: head(dns.TypeA), A: a.AsSlice()})
		case a.Is6() && (ask.Qtype == dns.TypeAAAA || ask.Qtype == dns.TypeANY):
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: head(dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	return m
}

// forward asks the other servers, by the protocol the question came by. One that refuses or fails gives way to the next.
func (r *Resolver) forward(q *dns.Msg, stream bool) *dns.Msg {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	default:
		return failure(q, dns.RcodeRefused)
	}
	var last *dns.Msg
	for _, to := range r.config.Servers() {
		answer, err := r.ask(q, to, stream)
		if r.ctx.Err() != nil {
			return nil
		}
		if err != nil {
			continue
		}
		switch answer.Rcode {
		case dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeNotImplemented:
			last = answer
			continue
		}
		return answer
	}
	if last != nil {
		return last
	}
	return failure(q, dns.RcodeServerFailure)
}

func (r *Resolver) ask(q *dns.Msg, to Server, stream bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	network := "udp"
	if stream {
		network = "tcp"
	}
	conn, err := r.config.Dial(ctx, network, to)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	// An ID of our own: the client's may be easy to guess.
	asked := q.Copy()
	asked.Id = dns.Id()
	client := dns.Client{Net: network, Timeout: patience, UDPSize: mostBytes}
	answer, _, err := client.ExchangeWithConnContext(ctx, asked, &dns.Conn{Conn: conn, UDPSize: mostBytes})
	if err != nil {
		return nil, err
	}
	answer.Id = q.Id
	return answer, nil
}

// addressOf reads a name below in-addr.arpa or ip6.arpa.
func addressOf(name string) (netip.Addr, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(digits, ".")
		for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
			parts[i], parts[j] = parts[j], parts[i]
		}
		a, err := netip.ParseAddr(strings.Join(parts, "."))
		return a, err == nil && a.Is4()
	}
	nibbles, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok || len(nibbles) != 63 {
		return netip.Addr{}, false
	}
	var b strings.Builder
	for i := len(nibbles) - 1; i >= 0; i -= 2 {
		b.WriteByte(nibbles[i])
		if b.Len()%5 == 4 && i > 0 {
			b.WriteByte(':')
		}
	}
	a, err := netip.ParseAddr(b.String())
	return a, err == nil
}
