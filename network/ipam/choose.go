// Package ipam decides about addresses: which subnet a network gets, and which address a container gets in it. It
// touches nothing and is tested without root. Everything here is for both families.
package ipam

import (
	"crypto/sha256"
	"fmt"
	"net/netip"

	"github.com/containerd/errdefs"
)

// Pool is a range to cut subnets from, each with a prefix of Size bits.
type Pool struct {
	Base netip.Prefix
	Size int
}

// Defaults are the IPv4 ranges Docker's users know, in Docker's order.
func Defaults() []Pool {
	var pools []Pool
	for second := 17; second < 32; second++ {
		pools = append(pools, Pool{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(second), 0, 0}), 16), 16})
	}
	return append(pools, Pool{netip.MustParsePrefix("192.168.0.0/16"), 20})
}

// Unique is the range of unique local IPv6 addresses (RFC 4193) that belongs to whoever has this seed: 65,536 networks
// under a prefix that nobody else is likely to have, and the same one each time.
func Unique(seed string) Pool {
	sum := sha256.Sum256([]byte(seed))
	var a [16]byte
	a[0] = 0xfd
	copy(a[1:6], sum[:])
	return Pool{netip.PrefixFrom(netip.AddrFrom16(a), 48), 64}
}

// Check tells whether a pool can be used at all.
func Check(p Pool) error {
	if !p.Base.IsValid() || p.Base.Addr().Is4In6() {
		return fmt.Errorf("address pool %s is not a range of addresses: %w", p.Base, errdefs.ErrInvalidArgument)
	}
	if p.Size < p.Base.Bits() || p.Size > p.Base.Addr().BitLen()-2 {
		return fmt.Errorf("address pool %s: subnets of %d bits do not fit: %w", p.Base, p.Size, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Choose cuts the first subnet from pools, all of one family, that overlaps nothing of taken. A taken range that is everything (a default
// route) counts for nothing. Without a free one the error is errdefs.ErrInvalidArgument, in Docker's words.
func Choose(pools []Pool, taken []netip.Prefix) (netip.Prefix, error) {
	for _, p := range pools {
		if err := Check(p); err != nil {
			return netip.Prefix{}, err
		}
		for subnet := netip.PrefixFrom(p.Base.Masked().Addr(), p.Size); p.Base.Contains(subnet.Addr()); {
			blocker, blocked := Overlap(subnet, taken)
			if !blocked {
				return subnet, nil
			}
			// A blocker wider than the subnet rules out everything up to its end.
			end := last(subnet)
			if blocker.Bits() < subnet.Bits() {
				end = last(blocker)
			}
			next := end.Next()
			if !next.IsValid() {
				break
			}
			subnet = netip.PrefixFrom(next, p.Size)
		}
	}
	return netip.Prefix{}, errdefs.ErrInvalidArgument.WithMessage("all predefined address pools have been fully subnetted")
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// Overlap returns a range of taken that shares addresses with subnet.
func Overlap(subnet netip.Prefix, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, t := range taken {
		if t.IsValid() && t.Bits() > 0 && t.Overlaps(subnet) {
			return t, true
		}
	}
	return netip.Prefix{}, false
}

// last is the highest address of a range.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
