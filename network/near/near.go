// Package near serves those who connect to a published port from a link-local address of IPv6, or at one of the host's: such an address
// means something on its own link alone, so that the kernel passes no packet from there, or to there, on to another. Their connections are
// led to one socket here, and made anew from here to the container, which sees the host; they end with the daemon.
package near

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// most is how many connections there are at once; who comes then waits.
	most = 1024
	// patience is how long a container may take to be connected to.
	patience = 10 * time.Second
)

// Server is the socket and what goes through it. Its methods are safe for concurrent use.
type Server struct {
	listener *net.TCPListener
	leads    func(dialled netip.AddrPort) (netip.AddrPort, bool)
	log      *slog.Logger
	places   chan struct{}
	work     sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

// Listen opens the socket, on a port that nobody has. leads tells where a port that was dialled leads.
func Listen(log *slog.Logger, leads func(dialled netip.AddrPort) (netip.AddrPort, bool)) (*Server, error) {
	l, err := net.ListenTCP("tcp6", &net.TCPAddr{})
	if err != nil {
		return nil, err
	}
	s := &Server{listener: l, leads: leads, log: log, places: make(chan struct{}, most), open: map[net.Conn]bool{}}
	s.work.Go(s.accept)
	return s, nil
}

// Port is the socket's.
func (s *Server) Port() uint16 { return uint16(s.listener.Addr().(*net.TCPAddr).Port) }

// Close ends all connections and waits for that.
func (s *Server) Close() {
	if s == nil {
		return
	}
	s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
}

func (s *Server) accept() {
	for {
		s.places <- struct{}{}
		client, err := s.listener.AcceptTCP()
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

// keep notes a connection that Close has to end; false where it is too late for one.
func (s *Server) keep(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.open[c] = true
	}
	return !s.closed
}

func (s *Server) end(c net.Conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// serve leads one connection on. Who dialled the socket itself, and no published port, is refused.
func (s *Server) serve(client *net.TCPConn) {
	defer s.end(client)
	if !s.keep(client) {
		return
	}
	dialled, err := original(client)
	if err != nil || dialled.Port() == s.Port() {
		return
	}
	to, known := s.leads(dialled)
	if !known {
		return
	}
	made, err := (&net.Dialer{Timeout: patience}).Dial("tcp", to.String())
	if err != nil {
		s.log.Debug("a published port is not reached", "port", dialled, "at", to, "error", err)
		client.SetLinger(0) // who asked hears that it was refused
		return
	}
	container := made.(*net.TCPConn)
	defer s.end(container)
	if !s.keep(container) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { pass(client, container) })
	pass(container, client)
	back.Wait()
}

// pass copies all that from says, and that it says no more. Where the other end is gone both end.
func pass(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		from.Close()
		return
	}
	to.CloseWrite()
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
