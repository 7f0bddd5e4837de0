package network

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/nft"
)

// protocols are those that have ports, by their numbers.
var protocols = map[nt.IPProtocol]uint8{nt.TCP: syscall.IPPROTO_TCP, nt.UDP: syscall.IPPROTO_UDP, nt.SCTP: 132}

// wish is one port that is to be published: on the first port of the range that is free, or, where the range is
// zero, on any.
type wish struct {
	inside     nt.Port
	host       netip.Addr
	from, upTo uint16
}

// wishes reads what a request wants published, in a fixed order. Errors are errdefs.ErrInvalidArgument, and
// errdefs.ErrNotImplemented for an IPv6 address.
func wishes(req Request, defaultIP netip.Addr) ([]wish, error) {
	var all []wish
	for _, inside := range sortedPorts(req.Ports) {
		if _, ok := protocols[inside.Proto()]; !ok {
			return nil, errdefs.ErrInvalidArgument.WithMessage("invalid protocol: " + string(inside.Proto()))
		}
		for _, b := range req.Ports[inside] {
			w := wish{inside: inside, host: defaultIP}
			if b.HostIP.IsValid() {
				w.host = b.HostIP.Unmap()
			}
			if !w.host.Is4() {
				return nil, errdefs.ErrNotImplemented.WithMessage(
					fmt.Sprintf("publishing a port on the IPv6 address %s is not implemented by this engine", w.host))
			}
			var err error
			if w.from, w.upTo, err = portRange(b.HostPort); err != nil {
				return nil, err
			}
			all = append(all, w)
		}
	}
	if req.PublishAll {
		for _, inside := range slices.SortedFunc(maps.Keys(req.Exposed), comparePorts) {
			if len(req.Ports[inside]) == 0 {
				all = append(all, wish{inside: inside, host: defaultIP})
			}
		}
	}
	return all, nil
}

// portRange reads "", "8080" or "8000-8010".
func portRange(text string) (from, upTo uint16, err error) {
	if text == "" {
		return 0, 0, nil
	}
	first, second, isRange := strings.Cut(text, "-")
	if !isRange {
		second = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(second, 10, 16)
	if errA != nil || errB != nil || b < a || isRange && a == 0 {
		return 0, 0, errdefs.ErrInvalidArgument.WithMessage("invalid port specification: \"" + text + "\"")
	}
	return uint16(a), uint16(b), nil
}

func comparePorts(a, b nt.Port) int {
	if a.Num() != b.Num() {
		return int(a.Num()) - int(b.Num())
	}
	return strings.Compare(string(a.Proto()), string(b.Proto()))
}

func sortedPorts(m nt.PortMap) []nt.Port { return slices.SortedFunc(maps.Keys(m), comparePorts) }

// binding is a port that is published.
type binding struct {
	inside nt.Port
	host   netip.AddrPort
	target netip.AddrPort
}

func (b binding) publication() nft.Publication {
	return nft.Publication{Proto: protocols[b.inside.Proto()], Host: b.host, Target: b.target}
}

func publications(all []binding) []nft.Publication {
	var out []nft.Publication
	for _, b := range all {
		out = append(out, b.publication())
	}
	return out
}

// shownPorts is the form in which inspect shows ports: those exposed and not published have no bindings.
func shownPorts(req Request, published []binding) nt.PortMap {
	shown := nt.PortMap{}
	for p := range req.Exposed {
		shown[p] = nil
	}
	for _, b := range published {
		shown[b.inside] = append(shown[b.inside], nt.PortBinding{HostIP: b.host.Addr(), HostPort: strconv.Itoa(int(b.host.Port()))})
	}
	return shown
}

// bindings reads back what shownPorts wrote.
func bindings(address netip.Addr, shown nt.PortMap) []binding {
	var all []binding
	for _, inside := range sortedPorts(shown) {
		for _, b := range shown[inside] {
			port, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err == nil && b.HostIP.Is4() {
				all = append(all, binding{inside, netip.AddrPortFrom(b.HostIP, uint16(port)), netip.AddrPortFrom(address, inside.Num())})
			}
		}
	}
	return all
}

// ports are the host's ports that this engine has taken. Each is held by a socket, so that no other program takes it.
type ports struct {
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

func newPorts(reserve func(nt.IPProtocol, netip.AddrPort) (io.Closer, error)) *ports {
	return &ports{reserve: reserve, held: map[held]map[netip.Addr]io.Closer{}}
}

// take takes one port for w.
func (p *ports) take(w wish) (netip.AddrPort, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.from == 0 {
		return p.takeAny(w)
	}
	var err error
	for port := uint32(w.from); port <= uint32(w.upTo); port++ {
		at := netip.AddrPortFrom(w.host, uint16(port))
		e := p.hold(w.inside.Proto(), at)
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
func (p *ports) takeAny(w wish) (netip.AddrPort, error) {
	low, high := ephemeralRange()
	if p.next < low || p.next > high {
		p.next = low
	}
	for range int(high) - int(low) + 1 {
		at := netip.AddrPortFrom(w.host, p.next)
		if p.next++; p.next > high || p.next == 0 {
			p.next = low
		}
		err := p.hold(w.inside.Proto(), at)
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
func (p *ports) hold(proto nt.IPProtocol, at netip.AddrPort) error {
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

func (p *ports) giveBack(all []binding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range all {
		key := held{b.inside.Proto(), b.host.Port()}
		here := p.held[key]
		if socket := here[b.host.Addr()]; socket != nil {
			socket.Close()
			delete(here, b.host.Addr())
		}
		if len(here) == 0 {
			delete(p.held, key)
		}
	}
}

func (p *ports) close() {
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

// publish takes the ports that the request wants and lets them reach m by the endpoint with its default route; all or
// none. On networks that lead nowhere nothing is published.
func (k *Keeper) publish(m *member, req Request) error {
	m.carrier, m.published = k.carrier(m), nil
	l := k.lan(m.carrier)
	if l == nil {
		return nil
	}
	hostIP := k.defaultHostIP()
	if l.settings.hostIP.IsValid() {
		hostIP = l.settings.hostIP
	}
	wanted, err := wishes(req, hostIP)
	if err != nil || len(wanted) == 0 {
		return err
	}
	e := m.endpoints[m.carrier]
	var done []binding
	err = errors.Join(l.device.RouteLocalNet(), bridge.Hairpin(e.veth))
	for _, w := range wanted {
		if err != nil {
			break
		}
		var at netip.AddrPort
		if at, err = k.ports.take(w); err == nil {
			done = append(done, binding{w.inside, at, netip.AddrPortFrom(e.address, w.inside.Num())})
		} else if who := k.publisher(w); who != "" {
			err = fmt.Errorf("%w: container %s has it", err, who)
		}
	}
	if err == nil {
		err = k.table.Publish(publications(done))
	}
	if err != nil {
		k.ports.giveBack(done)
		return errdefs.ErrInternal.WithMessage(
			fmt.Sprintf("driver failed programming external connectivity on endpoint %s (%s): %v", m.name, e.id, err))
	}
	m.published = done
	return nil
}

// publisher is the name of a container that has what w asks for, "" for none.
func (k *Keeper) publisher(w wish) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range k.members {
		for _, b := range m.published {
			same := b.host.Addr() == w.host || b.host.Addr().IsUnspecified() || w.host.IsUnspecified()
			if same && b.inside.Proto() == w.inside.Proto() && b.host.Port() >= w.from && b.host.Port() <= w.upTo {
				return m.name
			}
		}
	}
	return ""
}

// republish takes up the ports of a container that kept running. The table has them, unless it was lost.
func (k *Keeper) republish(m *member) error {
	l := k.lan(m.carrier)
	if len(m.published) == 0 || l == nil {
		return nil
	}
	if err := l.device.RouteLocalNet(); err != nil {
		return err
	}
	for _, b := range m.published {
		if _, err := k.ports.take(wish{b.inside, b.host.Addr(), b.host.Port(), b.host.Port()}); err != nil {
			k.log.Warn("a published port cannot be held", "container", m.id, "err", err)
		}
	}
	have := map[nft.Publication]bool{}
	for _, p := range k.table.Published() {
		have[p] = true
	}
	var missing []nft.Publication
	for _, p := range publications(m.published) {
		if !have[p] {
			missing = append(missing, p)
		}
	}
	return k.table.Publish(missing)
}

func (k *Keeper) withdraw(m *member) error {
	if len(m.published) == 0 {
		return nil
	}
	err := k.table.Withdraw(publications(m.published))
	k.ports.giveBack(m.published)
	return err
}

// withdrawAllBut ends the publication of ports that lead to none of targets.
func (k *Keeper) withdrawAllBut(targets map[netip.AddrPort]bool) error {
	var stale []nft.Publication
	for _, p := range k.table.Published() {
		if !targets[p.Target] {
			stale = append(stale, p)
		}
	}
	return k.table.Withdraw(stale)
}
