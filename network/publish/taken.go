package publish

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	nt "github.com/moby/moby/api/types/network"
)

// mostHeld is up to how many ports of one request are held by a socket each, so that no other program can take them
// while they are published. More than these are looked up among the sockets of the host when they are published, and not
// held: thousands of sockets would cost more than what they keep away, for a program that took one of these ports later
// gets nothing from outside, which the firewall sends to the container.
const mostHeld = 64

// Taken are the host's ports that this engine has taken.
type Taken struct {
	host host

	mu   sync.Mutex
	held map[held][]holding
	left map[held]time.Time // when ports that were held were given back
	next uint16             // where the search for any free port goes on
}

// host is what is asked of the host.
type host struct {
	// reserve takes a port as a server would.
	reserve func(proto nt.IPProtocol, at netip.AddrPort) (io.Closer, error)
	// servers are the ports that programs have.
	servers func() (servers, error)
	// owner says which program has a port, "" if it cannot be told.
	owner func(proto nt.IPProtocol, at netip.AddrPort) string
}

// held is one port on all addresses, holding who has it on one.
type held struct {
	proto nt.IPProtocol
	port  uint16
}

type holding struct {
	address netip.Addr
	socket  io.Closer // nil where it is not held
}

// NewTaken holds nothing yet.
func NewTaken() *Taken { return newTaken(host{reservePort, listServers, ownerOf}) }

func newTaken(h host) *Taken {
	return &Taken{host: h, held: map[held][]holding{}, left: map[held]time.Time{}}
}

// Take takes ports for all wishes, or none. Who can have only one port has it before who can have several, and wishes that differ in
// the host's address alone have the same. refused is the wish that could not be met.
func (p *Taken) Take(wanted []Wish) (at []uint16, refused Wish, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := round{Taken: p}
	if len(wanted) > mostHeld {
		// Where the kernel cannot be asked each port is tried.
		r.known, err = p.host.servers()
		r.many = true
		r.ask = err != nil
	}
	at = make([]uint16, len(wanted))
	all := partiesOf(wanted)
	for n, one := range all {
		port, err := r.take(one)
		if err != nil {
			for _, done := range all[:n] {
				p.giveBackAll(done, at[done.places[0]])
			}
			return nil, one.Wish, err
		}
		for _, i := range one.places {
			at[i] = port
		}
	}
	return at, Wish{}, nil
}

// party are wishes that are to have the same port, on the hosts of all of them; places are theirs among what is wanted.
type party struct {
	Wish
	on     []netip.Addr
	places []int
}

// partiesOf puts together wishes that differ in the host's address alone: first those for one port, then those for one of a range, then
// those for any.
func partiesOf(wanted []Wish) []party {
	var all []party
	like := map[Wish]int{} // where the last of its kind is
	for i, w := range wanted {
		kind := w
		kind.Host, kind.Both = netip.Addr{}, false
		at, known := like[kind]
		if known && w.From != w.UpTo || known && w.From == 0 {
			if one := &all[at]; !slices.ContainsFunc(w.hosts(), func(a netip.Addr) bool {
				return slices.ContainsFunc(one.on, func(b netip.Addr) bool { return clash(a, b) })
			}) {
				one.on, one.places = append(one.on, w.hosts()...), append(one.places, i)
				continue
			}
		}
		like[kind], all = len(all), append(all, party{w, w.hosts(), []int{i}})
	}
	slack := func(one party) int {
		switch {
		case one.From == 0:
			return 2
		case one.From < one.UpTo:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(all, func(a, b party) int { return slack(a) - slack(b) })
	return all
}

// Resume takes up the ports that a container which kept running has. What the host refuses is theirs all the same: it is
// published. The error tells of one of these.
func (p *Taken) Resume(all []Binding) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var refused error
	for _, b := range partsOf(all) {
		if b.routed() {
			continue
		}
		key := held{b.Inside.Proto(), b.Host.Port()}
		h := holding{address: b.Host.Addr()}
		if len(all) <= mostHeld {
			socket, err := p.host.reserve(b.Inside.Proto(), b.Host)
			if err != nil {
				refused = fmt.Errorf("failed to bind host port %s/%s: %w", b.Host, b.Inside.Proto(), err)
			} else {
				h.socket = socket
			}
		}
		if !slices.ContainsFunc(p.held[key], func(o holding) bool { return o.address == h.address }) {
			p.held[key] = append(p.held[key], h)
		} else if h.socket != nil {
			h.socket.Close()
		}
	}
	return refused
}

// round is the taking of several ports at once; Taken's lock is held.
type round struct {
	*Taken
	many  bool    // too many to hold
	known servers // that there are, where many are looked for
	ask   bool    // they are not known
}

// take takes one port for all of them.
func (r *round) take(w party) (uint16, error) {
	if w.Routed {
		return 0, nil
	}
	if w.From == 0 {
		return r.takeAny(w)
	}
	var err error
	for port := uint32(w.From); port <= uint32(w.UpTo); port++ {
		e := r.holdAll(w, uint16(port))
		if e == nil {
			return uint16(port), nil
		}
		if err == nil {
			err = e
		}
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		for _, a := range w.on {
			if who := r.host.owner(w.Inside.Proto(), netip.AddrPortFrom(a, w.From)); who != "" {
				return 0, fmt.Errorf("%w by %s", err, who)
			}
		}
	}
	return 0, err
}

// takeAny goes round the range that the host uses for outgoing connections, so that a port just given back rests.
func (r *round) takeAny(w party) (uint16, error) {
	low, high := ephemeralRange()
	if r.next < low || r.next > high {
		r.next = low
	}
	for range int(high) - int(low) + 1 {
		port := r.next
		if r.next++; r.next > high || r.next == 0 {
			r.next = low
		}
		err := r.holdAll(w, port)
		if err == nil {
			return port, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, errAllocated) {
			return 0, err
		}
	}
	return 0, errors.New("all ports are allocated")
}

// errAllocated marks ports that this engine gave to another container.
var errAllocated = errors.New("port is already allocated")

// holdAll takes exactly this port, on all addresses that w is for or on none.
func (r *round) holdAll(w party, port uint16) error {
	for i, a := range w.on {
		if err := r.hold(w.Inside.Proto(), netip.AddrPortFrom(a, port)); err != nil {
			for _, done := range w.on[:i] {
				r.giveBack(held{w.Inside.Proto(), port}, done)
			}
			return err
		}
	}
	return nil
}

// hold takes exactly this port.
func (r *round) hold(proto nt.IPProtocol, at netip.AddrPort) error {
	key := held{proto, at.Port()}
	for _, has := range r.held[key] {
		if clash(has.address, at.Addr()) {
			return fmt.Errorf("Bind for %s failed: %w", at, errAllocated)
		}
	}
	socket, err := r.seize(proto, at)
	if err != nil {
		return fmt.Errorf("failed to bind host port %s/%s: %w", at, proto, err)
	}
	r.held[key] = append(r.held[key], holding{at.Addr(), socket})
	return nil
}

// seize takes a port from the host, or, where there are many, makes sure that no program has it.
func (r *round) seize(proto nt.IPProtocol, at netip.AddrPort) (io.Closer, error) {
	if r.many && !r.ask {
		if r.known.have(proto, at) {
			return nil, syscall.EADDRINUSE
		}
		return nil, nil
	}
	socket, err := r.host.reserve(proto, at)
	for errors.Is(err, syscall.EADDRINUSE) && time.Since(r.left[held{proto, at.Port()}]) < lingering {
		time.Sleep(lingering / 100)
		socket, err = r.host.reserve(proto, at)
	}
	if r.many && err == nil {
		return nil, socket.Close()
	}
	return socket, err
}

// GiveBack lets others have the ports.
func (p *Taken) GiveBack(all []Binding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range partsOf(all) {
		p.giveBack(held{b.Inside.Proto(), b.Host.Port()}, b.Host.Addr())
	}
}

func (p *Taken) giveBackAll(w party, port uint16) {
	for _, a := range w.on {
		p.giveBack(held{w.Inside.Proto(), port}, a)
	}
}

func (p *Taken) giveBack(key held, address netip.Addr) {
	here := p.held[key]
	for i, has := range here {
		if has.address != address {
			continue
		}
		if has.socket != nil {
			has.socket.Close()
			p.leave(key)
		}
		if len(here) == 1 {
			delete(p.held, key)
		} else {
			p.held[key] = append(here[:i:i], here[i+1:]...)
		}
		return
	}
}

// lingering is how long a port may still be the engine's after it gave it back: a process that it starts at that moment has
// all its sockets, too, until it runs a program of its own.
const lingering = 300 * time.Millisecond

// leave notes that a port was held until now.
func (p *Taken) leave(key held) {
	const enough = 1000
	if len(p.left) > enough {
		maps.DeleteFunc(p.left, func(_ held, at time.Time) bool { return time.Since(at) > lingering })
	}
	p.left[key] = time.Now()
}

// Close gives back all.
func (p *Taken) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, here := range p.held {
		for _, has := range here {
			if has.socket != nil {
				has.socket.Close()
			}
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
