// Package publish decides which ports of the host lead to which ports of a container, and holds those that are taken.
package publish

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/nft"
)

// protocols are those whose ports are published, by their numbers.
var protocols = map[nt.IPProtocol]uint8{nt.TCP: syscall.IPPROTO_TCP, nt.UDP: syscall.IPPROTO_UDP}

// Asked is what a container wants published.
type Asked struct {
	// Ports are the wished published ports; Exposed with All are published on free ports of the host.
	Ports   nt.PortMap
	Exposed nt.PortSet
	All     bool
}

// Wish is one port that is to be published: on the first port of the range that is free, or, where the range is
// zero, on any.
type Wish struct {
	Inside     nt.Port
	Host       netip.Addr
	From, UpTo uint16
}

// Wishes reads what is wanted, in a fixed order; defaultIP is the host's address where none is named. Errors are
// errdefs.ErrInvalidArgument, and errdefs.ErrNotImplemented for an IPv6 address.
func Wishes(asked Asked, defaultIP netip.Addr) ([]Wish, error) {
	var all []Wish
	for _, inside := range sortedPorts(asked.Ports) {
		if err := publishable(inside); err != nil {
			return nil, err
		}
		for _, b := range asked.Ports[inside] {
			w := Wish{Inside: inside, Host: defaultIP}
			if b.HostIP.IsValid() {
				w.Host = b.HostIP.Unmap()
			}
			if !w.Host.Is4() {
				return nil, errdefs.ErrNotImplemented.WithMessage(
					fmt.Sprintf("publishing a port on the IPv6 address %s is not implemented by this engine", w.Host))
			}
			var err error
			if w.From, w.UpTo, err = portRange(b.HostPort); err != nil {
				return nil, err
			}
			all = append(all, w)
		}
	}
	if asked.All {
		for _, inside := range slices.SortedFunc(maps.Keys(asked.Exposed), comparePorts) {
			if err := publishable(inside); err != nil {
				return nil, err
			}
			if len(asked.Ports[inside]) == 0 {
				all = append(all, Wish{Inside: inside, Host: defaultIP})
			}
		}
	}
	return all, nil
}

// publishable tells whether a port is of a protocol whose ports can be published.
func publishable(inside nt.Port) error {
	if _, ok := protocols[inside.Proto()]; ok {
		return nil
	}
	if inside.Proto() == nt.SCTP {
		return errdefs.ErrNotImplemented.WithMessage(fmt.Sprintf("port %s cannot be published: this engine publishes TCP and UDP, not SCTP", inside))
	}
	return errdefs.ErrInvalidArgument.WithMessage("invalid protocol: " + string(inside.Proto()))
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

// Binding is a port that is published.
type Binding struct {
	Inside nt.Port
	Host   netip.AddrPort
	Target netip.AddrPort
}

// Meets tells whether the binding is on a port that w asks for.
func (b Binding) Meets(w Wish) bool {
	same := b.Host.Addr() == w.Host || b.Host.Addr().IsUnspecified() || w.Host.IsUnspecified()
	return same && b.Inside.Proto() == w.Inside.Proto() && b.Host.Port() >= w.From && b.Host.Port() <= w.UpTo
}

// serves tells whether the binding is what w asks for.
func (b Binding) serves(w Wish) bool {
	return b.Inside == w.Inside && b.Host.Addr() == w.Host && (w.From == 0 || b.Host.Port() >= w.From && b.Host.Port() <= w.UpTo)
}

// Compare tells which bindings serve a wish, in the order of the wishes and the zero value where none does, which wishes are
// left, and which bindings nobody asks for any more.
func Compare(have []Binding, wanted []Wish) (stays []Binding, missing []Wish, gone []Binding) {
	open := map[nt.Port][]Binding{}
	for _, b := range have {
		open[b.Inside] = append(open[b.Inside], b)
	}
	for _, w := range wanted {
		i := slices.IndexFunc(open[w.Inside], func(b Binding) bool { return b.serves(w) })
		if i < 0 {
			stays, missing = append(stays, Binding{}), append(missing, w)
			continue
		}
		stays, open[w.Inside] = append(stays, open[w.Inside][i]), slices.Delete(open[w.Inside], i, i+1)
	}
	for _, b := range have {
		if i := slices.Index(open[b.Inside], b); i >= 0 {
			gone, open[b.Inside] = append(gone, b), slices.Delete(open[b.Inside], i, i+1)
		}
	}
	return stays, missing, gone
}

// Merge puts those that came, in their order, in the places that Compare left open.
func Merge(stays, come []Binding) []Binding {
	all := slices.Clone(stays)
	for i := range all {
		if all[i] == (Binding{}) {
			all[i], come = come[0], come[1:]
		}
	}
	return all
}

// longRow is from how many ports on those that lead in a row to the same numbers are one element of the firewall's: a map
// of rows costs more to change than one of ports.
const longRow = 16

// On tells whether one of the bindings is on a port of the host.
func On(all []Binding) func(proto uint8, port uint16) bool {
	type port struct {
		proto  uint8
		number uint16
	}
	known := map[port]bool{}
	for _, b := range all {
		known[port{protocols[b.Inside.Proto()], b.Host.Port()}] = true
	}
	return func(proto uint8, number uint16) bool { return known[port{proto, number}] }
}

// Published is what the firewall is told of bindings, and of who may connect to them.
func Published(all []Binding, from Sources) nft.Published {
	var out nft.Published
	for len(all) > 0 {
		n := 1
		for n < len(all) && follows(all[n-1], all[n]) {
			n++
		}
		if n < longRow {
			n = 1
		}
		b := all[0]
		p := nft.Publication{Proto: protocols[b.Inside.Proto()], Host: b.Host, Target: b.Target, More: uint16(n - 1)}
		out.Ports = append(out.Ports, p)
		for _, source := range from.Of(b.Inside) {
			out.Limits = append(out.Limits, nft.Limit{Proto: p.Proto, Host: p.Host, More: p.More, Source: source})
		}
		all = all[n:]
	}
	return out
}

// follows tells whether b is the next port after a, on both sides the same one.
func follows(a, b Binding) bool {
	return a.Inside.Proto() == b.Inside.Proto() && a.Host.Addr() == b.Host.Addr() && a.Target.Addr() == b.Target.Addr() &&
		a.Host.Port() == a.Target.Port() && b.Host.Port() == b.Target.Port() && int(b.Host.Port()) == int(a.Host.Port())+1
}

// Shown is the form in which inspect shows ports: those exposed and not published have no bindings.
func Shown(exposed nt.PortSet, published []Binding) nt.PortMap {
	shown := nt.PortMap{}
	for p := range exposed {
		shown[p] = nil
	}
	for _, b := range published {
		shown[b.Inside] = append(shown[b.Inside], nt.PortBinding{HostIP: b.Host.Addr(), HostPort: strconv.Itoa(int(b.Host.Port()))})
	}
	return shown
}

// Bindings reads back what Shown wrote; address is the container's.
func Bindings(address netip.Addr, shown nt.PortMap) []Binding {
	var all []Binding
	for _, inside := range sortedPorts(shown) {
		for _, b := range shown[inside] {
			port, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err == nil && b.HostIP.Is4() {
				all = append(all, Binding{inside, netip.AddrPortFrom(b.HostIP, uint16(port)), netip.AddrPortFrom(address, inside.Num())})
			}
		}
	}
	return all
}
