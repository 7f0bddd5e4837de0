package publish

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/network/nft"
)

// Side is where published ports lead in one family, and how.
type Side struct {
	// To is the container's address, the zero value where it is not reached. That of IPv6 is one of IPv4 where the container has no other:
	// the engine relays what arrives, see package near.
	To netip.Addr
	// Routed takes no ports of the host: the container is reached at its own address. Direct has it be reached there as well.
	Routed, Direct bool
}

// Way is how a container is reached by published ports.
type Way struct{ Four, Six Side }

// OfFour is the way to a container that has IPv4 alone. What is sent to the host's addresses of IPv6, if it has any, is relayed, unless
// the host is not in between at all.
func OfFour(four Side) Way {
	w := Way{Four: four}
	if four.To.IsValid() && !four.Routed && listensOnIPv6() {
		w.Six.To = four.To
	}
	return w
}

// listensOnIPv6 tells whether the host has IPv6 for its servers.
func listensOnIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16()}) == nil
}

// side is that of an address's family.
func (w Way) side(a netip.Addr) Side {
	if a.Is6() {
		return w.Six
	}
	return w.Four
}

// relays tells whether what arrives by IPv6 is relayed.
func (w Way) relays() bool { return w.Six.To.Is4() }

// All are the addresses by which the container is reached.
func (w Way) All() (all []netip.Addr) {
	for _, side := range []Side{w.Four, w.Six} {
		if side.To.IsValid() && !slices.Contains(all, side.To) {
			all = append(all, side.To)
		}
	}
	return all
}

// Fit makes of wishes what can be had by the way: where it is routed there are no ports of the host to be had, whichever of them was
// wished for, and no addresses of it either.
func (w Way) Fit(all []Wish) (out []Wish) {
	for _, wish := range all {
		wish.Both = wish.Both && w.Six.To.IsValid()
		for _, part := range w.parts(wish) {
			if w.side(part.Host).Routed {
				part.Host, part.From, part.UpTo, part.Routed = nft.Unspecified(part.Host), 0, 0, true
			}
			if !part.Routed || !slices.Contains(out, part) {
				out = append(out, part)
			}
		}
	}
	return out
}

// Ignores tells whether the wish is for a port of the host that the way has not.
func (w Way) Ignores(wish Wish) bool {
	return w.side(wish.Host).Routed && (!wish.Both || w.Six.Routed)
}

// parts are the wish by families, where these are not treated alike.
func (w Way) parts(wish Wish) []Wish {
	if !wish.Both || !w.Four.Routed && !w.Six.Routed {
		return []Wish{wish}
	}
	six := wish
	wish.Both, six.Both, six.Host = false, false, netip.IPv6Unspecified()
	return []Wish{wish, six}
}
