package publish

import (
	"net/netip"
	"slices"
)

// Side is where published ports lead in one family, and how.
type Side struct {
	// To is the container's address, the zero value where it is not reached.
	To netip.Addr
	// Routed takes no ports of the host: the container is reached at its own address. Direct has it be reached there as well.
	Routed, Direct bool
}

// Way is how a container is reached by published ports.
type Way struct{ Four, Six Side }

// side is that of an address's family.
func (w Way) side(a netip.Addr) Side {
	if a.Is6() {
		return w.Six
	}
	return w.Four
}

// All are the addresses by which the container is reached.
func (w Way) All() (all []netip.Addr) {
	for _, side := range []Side{w.Four, w.Six} {
		if side.To.IsValid() {
			all = append(all, side.To)
		}
	}
	return all
}

// Fit makes of wishes what can be had by the way: where it is routed there are no ports of the host to be had, whichever of them was
// wished for, and no addresses of it either.
func (w Way) Fit(all []Wish) (out []Wish) {
	for _, wish := range all {
		for _, part := range w.parts(wish) {
			if w.side(part.Host).Routed {
				part.Host, part.From, part.UpTo, part.Routed = every(part.Host), 0, 0, true
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
	if !w.Six.To.IsValid() {
		return []Wish{wish}
	}
	return []Wish{wish, six}
}

// every stands for all addresses of the family.
func every(a netip.Addr) netip.Addr {
	if a.Is6() {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}
