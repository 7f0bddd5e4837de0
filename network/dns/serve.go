package dns

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// mostPackets is how many questions of one container that came by UDP are worked on at once. What comes faster waits
	// in the socket, and is dropped there: a container that floods its server has no other to wait, and none of their memory.
	mostPackets = 2 * mostForwarded
	// mostStreams is how many connections one container may have to its server.
	mostStreams = 64
	// idle is how long a connection may be silent.
	idle = 10 * time.Second
)

// Resolver serves one container.
type Resolver struct {
	config  Config
	packets net.PacketConn
	streams net.Listener
	hands   chan struct{} // for questions by UDP
	slots   chan struct{} // for questions that are forwarded
	done    sync.WaitGroup
	ctx     context.Context // ends with Close; the library's handlers have none
	cancel  context.CancelFunc

	mu     sync.Mutex
	server *dns.Server // of streams; nil before Start
}

// Open prepares to answer what arrives at the sockets, from Start on until Close. The sockets stay the caller's, who may
// close them at once.
func Open(s *Sockets, c Config) (*Resolver, error) {
	packets, err := net.FilePacketConn(s.UDP)
	if err != nil {
		return nil, err
	}
	streams, err := net.FileListener(s.TCP)
	if err != nil {
		packets.Close()
		return nil, err
	}
	r := &Resolver{
		config: c, packets: packets, streams: streams,
		hands: make(chan struct{}, mostPackets), slots: make(chan struct{}, mostForwarded),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Start begins to answer. What came before waits in the sockets.
func (r *Resolver) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return
	}
	r.done.Go(r.servePackets)
	// Shutdown knows nothing of a server that has not got this far.
	started, failed := make(chan struct{}), make(chan struct{})
	r.server = &dns.Server{
		Listener: &door{r.streams, make(chan struct{}, mostStreams), r.ctx.Done()}, Handler: r,
		IdleTimeout: func() time.Duration { return idle }, MaxTCPQueries: -1,
		NotifyStartedFunc: func() { close(started) },
	}
	r.done.Go(func() {
		defer close(failed)
		r.server.ActivateAndServe() // ends with Shutdown; a broken socket means that the container is gone
	})
	select {
	case <-started:
	case <-failed:
	}
}

// Close ends the service; questions that are not answered yet stay without an answer.
func (r *Resolver) Close() {
	r.cancel()
	r.packets.Close()
	r.mu.Lock()
	server := r.server
	r.mu.Unlock()
	if server != nil {
		server.Shutdown() // waits for handlers, which end with the context
	}
	r.streams.Close()
	r.done.Wait()
}

// servePackets answers what comes by UDP until the socket is closed.
func (r *Resolver) servePackets() {
	packet := make([]byte, mostBytes)
	for {
		select {
		case r.hands <- struct{}{}:
		case <-r.ctx.Done():
			return
		}
		n, from, err := r.packets.ReadFrom(packet)
		if err != nil {
			if r.ctx.Err() != nil {
				return
			}
			time.Sleep(time.Millisecond) // an error of one packet; the next may be better
			<-r.hands
			continue
		}
		q := new(dns.Msg)
		err = q.Unpack(packet[:n])
		r.done.Go(func() {
			defer func() { <-r.hands }()
			r.servePacket(q, err, from)
		})
	}
}

func (r *Resolver) servePacket(q *dns.Msg, broken error, from net.Addr) {
	var answer *dns.Msg
	switch {
	case broken == nil:
		answer = r.answer(q, false)
	case q.Id != 0 && !q.Response: // at least its head could be read
		q = &dns.Msg{MsgHdr: q.MsgHdr}
		answer = failure(q, dns.RcodeFormatError)
	}
	if answer == nil {
		return
	}
	size := dns.MinMsgSize
	if o := q.IsEdns0(); o != nil {
		size = min(max(int(o.UDPSize()), dns.MinMsgSize), mostBytes)
	}
	answer.Truncate(size)
	r.packets.WriteTo(packed(q, answer), from) // who asked may have left
}

// ServeDNS answers a question that came by TCP.
func (r *Resolver) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	if answer := r.answer(q, true); answer != nil {
		w.Write(packed(q, answer))
	}
}

// packed is an answer as it travels; one that has no such form, a server elsewhere may have sent it, is a failure.
func packed(q, answer *dns.Msg) []byte {
	answer.Compress = true // as it came: without, what fits into a message need not fit any more
	raw, err := answer.Pack()
	if err != nil {
		raw, _ = failure(q, dns.RcodeServerFailure).Pack()
	}
	return raw
}

// door lets in so many connections at a time, for as long as the service goes on.
type door struct {
	net.Listener
	slots chan struct{}
	ended <-chan struct{}
}

// Accept waits for a connection, and before that for room.
func (d *door) Accept() (net.Conn, error) {
	select {
	case d.slots <- struct{}{}:
	case <-d.ended:
		return nil, net.ErrClosed
	}
	c, err := d.Listener.Accept()
	if err != nil {
		<-d.slots
		return nil, err
	}
	return &stream{Conn: c, leave: sync.OnceFunc(func() { <-d.slots })}, nil
}

// stream is a connection whose client takes its answers, or loses it.
type stream struct {
	net.Conn
	leave func()
}

// Write gives up on a client that does not read.
func (s *stream) Write(b []byte) (int, error) {
	if err := s.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	return s.Conn.Write(b)
}

// Close also makes room for the next.
func (s *stream) Close() error {
	s.leave()
	return s.Conn.Close()
}
