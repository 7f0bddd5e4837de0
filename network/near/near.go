// Package near serves published ports where the kernel passes no packet on to the container: at an address of IPv6 where the container has IPv4
// alone, and at link-local addresses, or for who comes from one, as these mean something on their own link alone. What is sent there is
// led to one socket of TCP and one of UDP, and goes on from here to the container, which sees the host; connections end with the daemon.
package near

import (
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// most is how many connections there are at once, if the daemon may have as many files: who comes then waits. Of UDP there are as many flows, and the
	// next ends one that is silent.
	most = 8192
	// perRelay is how many of the files that the daemon may have there are for each: two sockets, pipes between them, and as much again for others.
	perRelay = 16
	// again is how often the kernel asks a container that does not answer for a connection once more, at growing intervals, before it gives up: by
	// itself it does so for minutes. New kernels add the questions at intervals of a second (net.ipv4.tcp_syn_linear_timeouts).
	again = 3
	// short is how much of a stream goes by a buffer: what is longer pays for a pipe, by which the kernel moves it.
	short = 64 << 10
)

// Server is the socket and what goes through it. Its methods are safe for concurrent use.
type Server struct {
	log    *slog.Logger
	places chan struct{}
	work   sync.WaitGroup

	mu       sync.Mutex
	listener *net.TCPListener // nil until Open
	leads    Leads
	packets  *net.UDPConn
	relays   map[*relay]bool
	flows    map[flowKey]*flow
	closed   bool
}

// relay is one connection, and the one to the container, which is nil until it is made.
type relay struct {
	client, container *net.TCPConn
	dialled, to       netip.AddrPort
	ended             atomic.Int32 // of the two directions
}

// Leads tells where a published port leads, by the protocol's number, 6 or 17, and the address that was dialled.
type Leads = func(proto uint8, dialled netip.AddrPort) (netip.AddrPort, bool)

// New serves nobody before Open.
func New(log *slog.Logger) *Server {
	return &Server{log: log, places: make(chan struct{}, room()), relays: map[*relay]bool{}, flows: map[flowKey]*flow{}}
}

// room is how many connections there may be at once.
func room() int {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return most / perRelay
	}
	return int(max(1, min(most, files.Cur/perRelay)))
}

// Open opens the sockets, both on one port, which nobody has, where they are not open. The port is 0 where that cannot be, which the log tells.
func (s *Server) Open(leads Leads) uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil && !s.closed {
		l, packets, err := listen()
		if err != nil {
			s.log.Warn("published ports are not reached at addresses of IPv6 where containers have none, nor at link-local ones", "error", err)
			return 0
		}
		s.listener, s.packets, s.leads = l, packets, leads
		s.work.Go(func() { s.accept(l) })
		s.work.Go(func() { s.receive(packets) })
	}
	return s.port()
}

// Port is the sockets', 0 where there are none.
func (s *Server) Port() uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.port()
}

func (s *Server) port() uint16 {
	if s.listener == nil {
		return 0
	}
	return uint16(s.listener.Addr().(*net.TCPAddr).Port)
}

// Check ends connections by ports that lead elsewhere by now, or nowhere.
func (s *Server) Check() {
	relays, flows := s.all()
	for _, r := range relays {
		if !s.stillLeads(unix.IPPROTO_TCP, r.dialled, r.to) {
			s.cut(r)
		}
	}
	for _, f := range flows {
		if !s.stillLeads(unix.IPPROTO_UDP, f.dialled, f.to) {
			s.end(f)
		}
	}
}

// stillLeads tells whether a port still leads there.
func (s *Server) stillLeads(proto uint8, dialled, to netip.AddrPort) bool {
	now, known := s.leads(proto, dialled)
	return known && now == to
}

func (s *Server) all() ([]*relay, []*flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.relays)), slices.Collect(maps.Values(s.flows))
}

// Close ends all connections and waits for that.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	if s.listener != nil {
		s.listener.Close()
		s.packets.Close()
	}
	s.mu.Unlock()
	relays, flows := s.all()
	for _, r := range relays {
		s.cut(r)
	}
	for _, f := range flows {
		s.end(f)
	}
	s.work.Wait()
}

func (s *Server) accept(l *net.TCPListener) {
	for {
		s.places <- struct{}{}
		client, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no file is free, say: it may be in a moment
			<-s.places
			time.Sleep(50 * time.Millisecond)
			continue
		}
		s.work.Go(func() {
			defer func() { <-s.places }()
			s.serve(client)
		})
	}
}

// keep notes a connection, or that to its container, for Close and Check to end it; false where it is too late for one.
func (s *Server) keep(r *relay, container *net.TCPConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || container != nil && !s.relays[r] {
		return false
	}
	r.container, s.relays[r] = container, true
	return true
}

// cut ends a connection and forgets it.
func (s *Server) cut(r *relay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.relays, r)
	r.client.Close()
	if r.container != nil {
		r.container.Close()
	}
}

// serve leads one connection on. Who dialled the socket itself, and no published port, is refused.
func (s *Server) serve(client *net.TCPConn) {
	r := &relay{client: client}
	defer s.cut(r)
	var err error
	if r.dialled, err = original(client); err != nil || r.dialled.Port() == s.Port() {
		return
	}
	if !s.begins(r) {
		return
	}
	container, err := s.dial(r)
	if err != nil {
		s.log.Debug("a published port is not reached", "port", r.dialled, "at", r.to, "error", err)
		client.SetLinger(0) // who asked hears that it was refused
		return
	}
	if !s.keep(r, container) {
		container.Close()
		return
	}
	var back sync.WaitGroup
	back.Go(func() { r.pass(client, container) })
	r.pass(container, client)
	back.Wait()
}

// dial connects to the container: by 127.0.0.1 where the same port is published there, as programs of the host do that take localhost for that. The kernel
// then gives both kinds of connections ports from one stock, and timestamps of one clock. Two that did not know of each other would meet in
// the container, which sees the same address for both, remembers ports for a minute after a connection and lets one wait a second that looks older.
func (s *Server) dial(r *relay) (*net.TCPConn, error) {
	at := netip.AddrPortFrom(loopback4, r.dialled.Port())
	if !s.stillLeads(unix.IPPROTO_TCP, at, r.to) {
		at = r.to
	}
	made, err := dialer.Dial("tcp", at.String())
	if err != nil {
		return nil, err
	}
	container := made.(*net.TCPConn)
	if at != r.to && !s.stillLeads(unix.IPPROTO_TCP, at, r.to) { // who has that port by now is not who was meant
		container.Close()
		return nil, net.ErrClosed
	}
	return container, nil
}

// dialer has the kernel be patient: a timer and who waits for it cost more than the connection. The container is of this host, and cut off when it leaves:
// nobody has to ask whether it is there.
var dialer = net.Dialer{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
	return set(c, option{unix.IPPROTO_TCP, unix.TCP_SYNCNT, again})
}}

// loopback4 is the host itself.
var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// begins notes a connection and where it leads; false where that is nowhere.
func (s *Server) begins(r *relay) (ok bool) {
	if r.to, ok = s.leads(unix.IPPROTO_TCP, r.dialled); !ok || !s.keep(r, nil) {
		return false
	}
	return s.stillLeads(unix.IPPROTO_TCP, r.dialled, r.to) // a Check before it was noted has not seen it
}

// pass copies all that from says, and that it says no more. Where the other end is gone both end.
func (r *relay) pass(to, from *net.TCPConn) {
	err := head(to, from)
	if err == nil {
		_, err = io.Copy(to, from)
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		to.Close()
		from.Close()
	case r.ended.Add(1) == 1: // after the second one both are closed, which says the same
		to.CloseWrite()
	}
}

// head copies what a stream begins with: all of it, and then it is io.EOF, or as much as is short.
func head(to, from *net.TCPConn) error {
	raw, err := from.SyscallConn()
	if err != nil {
		return err
	}
	for left := short; left > 0; {
		data, n, err := await(raw)
		if err != nil {
			return err
		}
		if n > 0 {
			_, err = to.Write(data[:n])
		} else {
			err = io.EOF
		}
		buffers.Put(data)
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// original is the address that was dialled before the firewall changed it (ip6tables-extensions(8): IP6T_SO_ORIGINAL_DST).
func original(c *net.TCPConn) (at netip.AddrPort, err error) {
	const originalDst = 80
	raw, err := c.SyscallConn()
	if err != nil {
		return at, err
	}
	var got *unix.IPv6MTUInfo // begins as the address does that the kernel writes
	failed := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptIPv6MTUInfo(int(fd), unix.SOL_IPV6, originalDst) })
	if err := errors.Join(failed, err); err != nil {
		return at, err
	}
	port := got.Addr.Port // in the network's order, whatever the machine's
	return netip.AddrPortFrom(netip.AddrFrom16(got.Addr.Addr), port>>8|port<<8), nil
}
