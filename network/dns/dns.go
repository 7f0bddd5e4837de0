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
	"slices"
	"strings"
	"sync"
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
	// slow is when the next server is asked as well. Clients wait five seconds in all.
	slow = time.Second
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

// forward asks the other servers, by the protocol the question came by.
func (r *Resolver) forward(q *dns.Msg, stream bool) *dns.Msg {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	default:
		return failure(q, dns.RcodeRefused)
	}
	answer := r.askInTurn(q, r.config.Servers(), stream)
	if answer == nil && r.ctx.Err() == nil {
		return failure(q, dns.RcodeServerFailure)
	}
	return answer
}

// askInTurn asks one server after the other: the next where one fails or refuses, and beside it where one takes its time, so that the client
// does not give up while those that are dead are waited for. That a name is not there is believed when no server before has a better
// answer. It is nil where no server has any.
func (r *Resolver) askInTurn(q *dns.Msg, servers []Server, stream bool) *dns.Msg {
	ctx, cancel := context.WithCancel(r.ctx)
	answers := make(chan reply, len(servers))
	asked, waiting, settled := 0, 0, make([]*dns.Msg, len(servers))
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	next := func() {
		if asked < len(servers) {
			of := asked
			asking.Go(func() { answers <- reply{of, r.ask(ctx, q, servers[of], stream)} })
			asked, waiting = asked+1, waiting+1
		}
	}
	late := time.NewTimer(slow)
	defer late.Stop()
	for next(); waiting > 0; {
		select {
		case <-late.C:
			next()
		case one := <-answers:
			waiting--
			settled[one.of] = one.answer
			if one.answer.Rcode == dns.RcodeSuccess && len(one.answer.Answer) > 0 {
				return one.answer
			}
			if m := firstOf(settled[:asked]); m != nil {
				return m
			}
			next()
		}
		late.Reset(slow)
	}
	for _, m := range slices.Backward(settled) { // all have failed: what the last says that says anything
		if m != nil && m.Rcode != noAnswer {
			return m
		}
	}
	return nil
}

// reply is what a server says, by its place; of one that says nothing the code is noAnswer.
type reply struct {
	of     int
	answer *dns.Msg
}

// noAnswer is no code that travels.
const noAnswer = -1

// firstOf is the first answer that is one, where no server before it is being waited for; else nil.
func firstOf(settled []*dns.Msg) *dns.Msg {
	for _, m := range settled {
		switch {
		case m == nil:
			return nil
		case slices.Contains([]int{noAnswer, dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeNotImplemented}, m.Rcode):
			continue
		}
		return m
	}
	return nil
}

// ask is the server's answer, its code noAnswer where there is none.
func (r *Resolver) ask(ctx context.Context, q *dns.Msg, to Server, stream bool) *dns.Msg {
	answer, err := r.exchange(ctx, q, to, stream)
	if err != nil {
		return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: noAnswer}}
	}
	return answer
}

func (r *Resolver) exchange(ctx context.Context, q *dns.Msg, to Server, stream bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
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
