package publish

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"syscall"

	nt "github.com/moby/moby/api/types/network"
)

// Taken are the host's ports that this engine has taken. Each is held by a socket, so that no other program takes it.
type Taken struct {
	reserve func(proto nt.IPProtocol, at netip.AddrPort) (io.Closer, error)

	mu   sync.Mutex
	held map[held]map[netip.Addr]io.Closer
	next uint16 // where the search for any free port goes on
}

// held is one port on all addresses.
type held struct {
	proto nt.IPProtocol
	port  uint16
}

// NewTaken holds nothing yet.
func NewTaken() *Taken { return newTaken(reservePort) }

func newTaken(reserve func(nt.IPProtocol, netip.AddrPort) (io.Closer, error)) *Taken {
	return &Taken{reserve: reserve, held: map[held]map[netip.Addr]io.Closer{}}
}

// Take takes one port for w.
func (p *Taken) Take(w Wish) (netip.AddrPort, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.From == 0 {
		return p.takeAny(w)
	}
	var err error
	for port := uint32(w.From); port <= uint32(w.UpTo); port++ {
		at := netip.AddrPortFrom(w.Host, uint16(port))
		e := p.hold(w.Inside.Proto(), at)
		if e == nil {
			return at, nil
		}
		if err == nil {
			err = e
		}
	}
	return netip.AddrPort{}, err
}

// takeAny goes round the range that the host uses for outgoing connections, so that a port just given back rests.
func (p *Taken) takeAny(w Wish) (netip.AddrPort, error) {
	low, high := ephemeralRange()
	if p.next < low || p.next > high {
		p.next = low
	}
	for range int(high) - int(low) + 1 {
		at := netip.AddrPortFrom(w.Host, p.next)
		if p.next++; p.next > high || p.next == 0 {
			p.next = low
		}
		err := p.hold(w.Inside.Proto(), at)
		if err == nil {
			return at, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, errAllocated) {
			return netip.AddrPort{}, err
		}
	}
	return netip.AddrPort{}, errors.New("all ports are allocated")
}

// errAllocated marks ports that this engine gave to another container.
var errAllocated = errors.New("port is already allocated")

// hold takes exactly this port; p.mu is held.
func (p *Taken) hold(proto nt.IPProtocol, at netip.AddrPort) error {
	here := p.held[held{proto, at.Port()}]
	for address := range here {
		if address == at.Addr() || address.IsUnspecified() || at.Addr().IsUnspecified() {
			return fmt.Errorf("Bind for %s failed: %w", at, errAllocated)
		}
	}
	socket, err := p.reserve(proto, at)
	if err != nil {
		return fmt.Errorf("failed to bind host port %s/%s: %w", at, proto, err)
	}
	if here == nil {
		here = map[netip.Addr]io.Closer{}
		p.held[held{proto, at.Port()}] = here
	}
	here[at.Addr()] = socket
	return nil
}

// GiveBack lets others have the ports.
func (p *Taken) GiveBack(all []Binding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range all {
		key := held{b.Inside.Proto(), b.Host.Port()}
		here := p.held[key]
		if socket := here[b.Host.Addr()]; socket != nil {
			socket.Close()
			delete(here, b.Host.Addr())
		}
		if len(here) == 0 {
			delete(p.held, key)
		}
	}
}

// Close gives back all.
func (p *Taken) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, here := range p.held {
		for _, socket := range here {
			socket.Close()
		}
	}
	clear(p.held)
}

// ephemeralRange is the host's range of ports for outgoing connections.
func ephemeralRange() (low, high uint16) {
	raw, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Sscan(string(raw), &low, &high)
	}
	if err != nil || low == 0 || high < low {
		return 49153, 65535
	}
	return low, high
}
