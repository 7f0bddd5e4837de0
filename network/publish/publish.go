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

	"github.com/cove-containers/cove/network/bridge"
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
	// Both is for the same port on every address of IPv6, too, where Host is every one of IPv4.
	Both bool
	// Routed is for no port of the host: the container is reached at its own address. Host is every one of the family.
	Routed bool
}

// hosts are the addresses of the host that the port is wanted on.
func (w Wish) hosts() []netip.Addr {
	if w.Both {
		return []netip.Addr{w.Host, netip.IPv6Unspecified()}
	}
	return []netip.Addr{w.Host}
}

// Wishes reads what is wanted, in a fixed order; by default ports are on the address of the host that host names, and, if both,
// on every one of IPv6. Errors are errdefs.ErrInvalidArgument.
func Wishes(asked Asked, host netip.Addr, both bool) ([]Wish, error) {
	var all []Wish
	for _, inside := range sortedPorts(asked.Ports) {
		if err := publishable(inside); err != nil {
			return nil, err
		}
		for _, b := range asked.Ports[inside] {
			w := Wish{Inside: inside, Host: host, Both: both}
			if b.HostIP.IsValid() {
				w.Host, w.Both = b.HostIP.Unmap(), false
			}
			var err error
			if w.From, w.UpTo, err = portRange(b.HostPort); err != nil {
				return nil, err
			}
			all = append(all, w)
		}
	}
	all = joinWishes(all)
	if asked.All {
		for _, inside := range slices.SortedFunc(maps.Keys(asked.Exposed), comparePorts) {
			if err := publishable(inside); err != nil {
				return nil, err
			}
			if len(asked.Ports[inside]) == 0 {
				all = append(all, Wish{Inside: inside, Host: host, Both: both})
			}
		}
	}
	return all, nil
}

// joinWishes makes one of two that are for the same port on every address of either family.
func joinWishes(all []Wish) (out []Wish) {
	for _, w := range all {
		if n := len(out); n > 0 && w.From > 0 && w.From == w.UpTo {
			before := out[n-1]
			if before.Host == netip.IPv4Unspecified() && w.Host == netip.IPv6Unspecified() {
				if before.Both = true; before == (Wish{Inside: w.Inside, Host: before.Host, From: w.From, UpTo: w.UpTo, Both: true}) {
					out[n-1] = before
					continue
				}
			}
		}
		out = append(out, w)
	}
	return out
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
	// Host has no port where the container is reached at its own address alone.
	Host   netip.AddrPort
	Target netip.AddrPort
	// Target6 is where the same port of every IPv6 address of the host leads, where Host is every one of IPv4: Target again where it is relayed,
	// see Side; the zero value where that is not published.
	Target6 netip.AddrPort
	// Direct and Direct6 tell that Target, or Target6, is reached from outside also at its own address.
	Direct, Direct6 bool
}

// Bind makes w real on a port of the host, which is 0 where it takes none. To bind an address of a family that leads nowhere is
// errdefs.ErrInvalidArgument.
func Bind(w Wish, port uint16, way Way) (Binding, error) {
	b := Binding{Inside: w.Inside, Host: netip.AddrPortFrom(w.Host, port)}
	side, kind := way.side(w.Host), "IPv4"
	if w.Host.Is6() {
		kind = "IPv6"
	}
	if !side.To.IsValid() {
		return b, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("port %s cannot be published on %s: "+
			"the container is on no network that has %s and leads out", w.Inside, w.Host, kind))
	}
	b.Target, b.Direct = netip.AddrPortFrom(side.To, w.Inside.Num()), side.Direct
	if w.Both && way.Six.To.IsValid() {
		b.Target6, b.Direct6 = netip.AddrPortFrom(way.Six.To, w.Inside.Num()), way.Six.Direct
	}
	return b, nil
}

// both tells whether the port is published on every address of both families.
func (b Binding) both() bool { return b.Target6.IsValid() }

// routed tells whether the container is reached at its own address alone.
func (b Binding) routed() bool { return b.Host.Port() == 0 }

// parts are the binding's n parts, of one family each.
func (b Binding) parts() (parts [2]Binding, n int) {
	if !b.both() {
		return [2]Binding{b}, 1
	}
	return [2]Binding{{Inside: b.Inside, Host: b.Host, Target: b.Target, Direct: b.Direct},
		{Inside: b.Inside, Host: netip.AddrPortFrom(netip.IPv6Unspecified(), b.Host.Port()), Target: b.Target6, Direct: b.Direct6}}, 2
}

// each are the parts.
func (b Binding) each() []Binding {
	parts, n := b.parts()
	return parts[:n]
}

// clash tells whether two sockets with these addresses cannot have the same port.
func clash(a, b netip.Addr) bool {
	return a == b || a.Is4() == b.Is4() && (a.IsUnspecified() || b.IsUnspecified())
}

// Meets tells whether the binding is on a port that w asks for.
func (b Binding) Meets(w Wish) bool {
	if b.routed() || w.Routed {
		return false
	}
	same := slices.ContainsFunc(b.each(), func(one Binding) bool {
		return slices.ContainsFunc(w.hosts(), func(a netip.Addr) bool { return clash(a, one.Host.Addr()) })
	})
	return same && b.Inside.Proto() == w.Inside.Proto() && b.Host.Port() >= w.From && b.Host.Port() <= w.UpTo
}

// serves tells whether the binding is what w asks for. Whether a host has IPv6 to relay from can have changed since.
func (b Binding) serves(w Wish, way Way) bool {
	return b.Inside == w.Inside && b.Host.Addr() == w.Host && (b.both() == w.Both || way.relays() || b.Target6.Addr().Is4()) &&
		(w.From == 0 || b.Host.Port() >= w.From && b.Host.Port() <= w.UpTo)
}

// Compare tells which bindings serve a wish, in the order of the wishes and the zero value where none does, which wishes are
// left, and which bindings nobody asks for any more.
func Compare(have []Binding, wanted []Wish, way Way) (stays []Binding, missing []Wish, gone []Binding) {
	open := map[nt.Port][]Binding{}
	for _, b := range have {
		open[b.Inside] = append(open[b.Inside], b)
	}
	for _, w := range wanted {
		i := slices.IndexFunc(open[w.Inside], func(b Binding) bool { return b.serves(w, way) })
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

// On tells whether one of the bindings is what was dialled: a port on any address of the host, or the container's own at.
func On(all []Binding, at netip.Addr) func(proto uint8, dialled netip.AddrPort) bool {
	type port struct {
		proto  uint8
		number uint16
	}
	known, direct := map[port]bool{}, map[port]bool{}
	for _, b := range partsOf(all) {
		proto := protocols[b.Inside.Proto()]
		known[port{proto, b.Host.Port()}] = true
		if b.Target.Addr() == at && (b.Direct || b.routed()) {
			direct[port{proto, b.Target.Port()}] = true
		}
	}
	return func(proto uint8, dialled netip.AddrPort) bool {
		if dialled.Addr() == at {
			return direct[port{proto, dialled.Port()}]
		}
		return known[port{proto, dialled.Port()}]
	}
}

// Published is what the firewall is told of bindings, and of who may connect to them.
func Published(bindings []Binding, from Sources) nft.Published {
	var out nft.Published
	add := func(b Binding, host netip.AddrPort, more int) {
		p := nft.Publication{Proto: protocols[b.Inside.Proto()], Host: host, Target: b.Target, More: uint16(more)}
		out.Ports = append(out.Ports, p)
		for _, source := range ofFamily(from.Of(b.Inside), host.Addr()) {
			out.Limits = append(out.Limits, nft.Limit{Proto: p.Proto, Host: p.Host, More: p.More, Source: source})
		}
	}
	all := partsOf(bindings)
	for _, b := range all {
		if b.Direct || b.routed() {
			add(b, b.Target, 0)
		}
	}
	all = slices.DeleteFunc(all, Binding.routed)
	for len(all) > 0 {
		n := 1
		for n < len(all) && follows(all[n-1], all[n]) {
			n++
		}
		if n < longRow {
			n = 1
		}
		add(all[0], all[0].Host, n-1)
		all = all[n:]
	}
	return out
}

// Led tells where the ports of the host lead that bindings take.
func Led(all []Binding) (out []bridge.Led) {
	for _, b := range partsOf(all) {
		if !b.routed() {
			out = append(out, bridge.Led{Proto: protocols[b.Inside.Proto()], Host: b.Host, Target: b.Target})
		}
	}
	return out
}

// partsOf are the parts of bindings, each family's in their order: rows stay rows.
func partsOf(bindings []Binding) []Binding {
	all := slices.Grow([]Binding(nil), 2*len(bindings))
	for nth := range 2 {
		for _, b := range bindings {
			if parts, n := b.parts(); nth < n {
				all = append(all, parts[nth])
			}
		}
	}
	return all
}

// ofFamily are the sources that can connect to an address at all. Where there are some, but none of its family, it is for nobody:
// the address that no packet comes from.
func ofFamily(all []netip.Prefix, host netip.Addr) (out []netip.Prefix) {
	for _, p := range all {
		if p.Addr().Is4() == host.Is4() {
			out = append(out, p)
		}
	}
	if len(out) == 0 && len(all) > 0 {
		nobody := netip.IPv4Unspecified()
		if host.Is6() {
			nobody = netip.IPv6Unspecified()
		}
		out = []netip.Prefix{netip.PrefixFrom(nobody, nobody.BitLen())}
	}
	return out
}

// follows tells whether b is the next port after a, on both sides: the same one, unless they are relayed.
func follows(a, b Binding) bool {
	return a.Inside.Proto() == b.Inside.Proto() && a.Host.Addr() == b.Host.Addr() && a.Target.Addr() == b.Target.Addr() &&
		int(b.Host.Port()) == int(a.Host.Port())+1 && int(b.Target.Port()) == int(a.Target.Port())+1 &&
		(a.Host.Port() == a.Target.Port() || a.Host.Addr().Is6() && a.Target.Addr().Is4())
}

// Shown is the form in which inspect shows ports: those exposed and not published have no bindings, those that take no port of the
// host have none of it.
func Shown(exposed nt.PortSet, published []Binding) nt.PortMap {
	shown := nt.PortMap{}
	for p := range exposed {
		shown[p] = nil
	}
	for _, b := range published {
		for _, one := range b.each() {
			at := nt.PortBinding{HostIP: one.Host.Addr()}
			if !one.routed() {
				at.HostPort = strconv.Itoa(int(one.Host.Port()))
			}
			shown[b.Inside] = append(shown[b.Inside], at)
		}
	}
	return shown
}

// Bindings reads back what Shown wrote. What leads nowhere is left out.
func Bindings(way Way, shown nt.PortMap) []Binding {
	var wanted []Wish
	for _, inside := range sortedPorts(shown) {
		for _, b := range shown[inside] {
			w := Wish{Inside: inside, Host: b.HostIP, Routed: b.HostPort == ""}
			port, err := strconv.ParseUint(b.HostPort, 10, 16)
			if w.From, w.UpTo = uint16(port), uint16(port); b.HostIP.IsValid() && (err == nil || w.Routed) {
				wanted = append(wanted, w)
			}
		}
	}
	var all []Binding
	for _, w := range joinWishes(wanted) {
		if b, err := Bind(w, w.From, way); err == nil {
			all = append(all, b)
		}
	}
	return all
}
