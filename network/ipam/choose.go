// Package ipam decides about addresses: which subnet a network gets, and which address a container gets in it. It
// touches nothing and is tested without root.
package ipam

import (
	"fmt"
	"net/netip"

	"github.com/containerd/errdefs"
)

// Pool is a range to cut subnets from, each with a prefix of Size bits.
type Pool struct {
	Base netip.Prefix
	Size int
}

// Defaults are the ranges Docker's users know, in Docker's order.
func Defaults() []Pool {
	var pools []Pool
	for second := 17; second < 32; second++ {
		pools = append(pools, Pool{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(second), 0, 0}), 16), 16})
	}
	return append(pools, Pool{netip.MustParsePrefix("192.168.0.0/16"), 20})
}

// Check tells whether a pool can be used at all.
func Check(p Pool) error {
	if !p.Base.IsValid() || !p.Base.Addr().Is4() {
		return fmt.Errorf("address pool %s is not an IPv4 range: %w", p.Base, errdefs.ErrInvalidArgument)
	}
	if p.Size < p.Base.Bits() || p.Size > 30 {
		return fmt.Errorf("address pool %s: subnets of %d bits do not fit: %w", p.Base, p.Size, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Choose cuts the first subnet from pools that overlaps nothing of taken. A taken range that is everything (a default
// route) counts for nothing. Without a free one the error is errdefs.ErrResourceExhausted, in Docker's words.
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
	return netip.Prefix{}, errdefs.ErrResourceExhausted.WithMessage(
		"could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network")
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

// last is the highest address of an IPv4 range.
func last(p netip.Prefix) netip.Addr {
	n := number(p.Masked().Addr()) | uint32(uint64(1)<<(32-p.Bits())-1)
	return address(n)
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func address(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
