package ipam

import (
	"math"
	"math/big"
	"net/netip"
)

// Counts tells how many addresses of the subnet cannot be had, those that nobody can have among them, and how many are left to who
// asks for none in particular. What is more than a number can hold is the largest one.
func (s *Subnet) Counts() (used, left uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first != s.prefix.Addr() {
		used++
	}
	if s.last != last(s.prefix) {
		used++
	}
	within := uint64(0)
	for a := range s.taken {
		if !a.Less(s.first) && !s.last.Less(a) {
			used++
			if !a.Less(s.low) && !s.high.Less(a) {
				within++
			}
		}
	}
	number := func(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }
	n := new(big.Int).Sub(number(s.high), number(s.low))
	n.Sub(n.Add(n, big.NewInt(1)), new(big.Int).SetUint64(within))
	switch {
	case n.Sign() < 0:
		return used, 0
	case !n.IsUint64():
		return used, math.MaxUint64
	}
	return used, n.Uint64()
}
