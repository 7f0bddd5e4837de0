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

// protocols are those that have ports, by their numbers.
var protocols = map[nt.IPProtocol]uint8{nt.TCP: syscall.IPPROTO_TCP, nt.UDP: syscall.IPPROTO_UDP, nt.SCTP: 132}

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
		if _, ok := protocols[inside.Proto()]; !ok {
			return nil, errdefs.ErrInvalidArgument.WithMessage("invalid protocol: " + string(inside.Proto()))
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
			if len(asked.Ports[inside]) == 0 {
				all = append(all, Wish{Inside: inside, Host: defaultIP})
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

// Wish asks for exactly what the binding has.
func (b Binding) Wish() Wish { return Wish{b.Inside, b.Host.Addr(), b.Host.Port(), b.Host.Port()} }

// Publications is what the firewall is told of bindings.
func Publications(all []Binding) []nft.Publication {
	var out []nft.Publication
	for _, b := range all {
		out = append(out, nft.Publication{Proto: protocols[b.Inside.Proto()], Host: b.Host, Target: b.Target})
	}
	return out
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
