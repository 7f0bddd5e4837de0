package ipam

import (
	"fmt"
	"net/netip"
	"sync"

	"github.com/containerd/errdefs"
)

// Subnet hands out the addresses of one IPv4 subnet, the lowest free one first. It remembers who had which address
// last, and gives that to nobody else while there are others. It is safe for concurrent use.
type Subnet struct {
	prefix      netip.Prefix
	first, last uint32 // addresses that can be had
	low, high   uint32 // those of them that are given to who asks for none

	mu    sync.Mutex
	taken map[uint32]bool
	from  uint32            // no address below can be given
	had   map[string]uint32 // by owner
	kept  map[uint32]string // the other way round
}

// NewSubnet hands out what is usable of prefix: neither its first nor its last address, nor one of reserved. Who asks
// for no address in particular gets one in within; the zero value is all of prefix.
func NewSubnet(prefix, within netip.Prefix, reserved ...netip.Addr) (*Subnet, error) {
	if !prefix.IsValid() || !prefix.Addr().Is4() || prefix.Bits() > 30 {
		return nil, fmt.Errorf("subnet %s has no room for containers: %w", prefix, errdefs.ErrInvalidArgument)
	}
	s := &Subnet{
		prefix: prefix.Masked(),
		first:  number(prefix.Masked().Addr()) + 1,
		last:   number(last(prefix)) - 1,
		taken:  map[uint32]bool{},
		had:    map[string]uint32{},
		kept:   map[uint32]string{},
	}
	s.low, s.high = s.first, s.last
	if within.IsValid() {
		if !prefix.Contains(within.Addr()) || within.Bits() < prefix.Bits() {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("range %s is not in subnet %s", within, prefix.Masked()))
		}
		s.low, s.high = max(s.low, number(within.Masked().Addr())), min(s.high, number(last(within)))
	}
	s.from = s.low
	for _, r := range reserved {
		s.taken[number(r)] = true
	}
	return s, nil
}

// Prefix is the subnet.
func (s *Subnet) Prefix() netip.Prefix { return s.prefix }

// Contains tells whether a is in the subnet.
func (s *Subnet) Contains(a netip.Addr) bool { return s.prefix.Contains(a) }

// Next takes the lowest free address, preferring one that nobody had last. A full subnet is
// errdefs.ErrResourceExhausted.
func (s *Subnet) Next() (netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var second uint32 // the lowest that is free, but somebody's
	for n := s.from; n <= s.high; n++ {
		if s.taken[n] {
			continue
		}
		if s.kept[n] != "" {
			if second == 0 {
				second = n
			}
			continue
		}
		if second == 0 {
			s.from = n + 1
		}
		s.taken[n] = true
		return address(n), nil
	}
	if second == 0 {
		s.from = s.high + 1
		return netip.Addr{}, errdefs.ErrResourceExhausted.WithMessage("no available IPv4 addresses on this network's address pools: " + s.prefix.String())
	}
	s.forget(s.kept[second])
	s.taken[second] = true
	return address(second), nil
}

// Remember notes that a is the owner's.
func (s *Subnet) Remember(owner string, a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !a.Is4() || !s.prefix.Contains(a) {
		return
	}
	s.forget(owner)
	s.forget(s.kept[number(a)])
	s.had[owner], s.kept[number(a)] = number(a), owner
}

// Recall is the address that the owner had last, unless it was given to somebody else.
func (s *Subnet) Recall(owner string) (netip.Addr, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.had[owner]
	return address(n), ok
}

// Forget ends what Remember began.
func (s *Subnet) Forget(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(owner)
}

func (s *Subnet) forget(owner string) {
	if n, ok := s.had[owner]; ok {
		delete(s.had, owner)
		delete(s.kept, n)
		if !s.taken[n] && n >= s.low && n < s.from {
			s.from = n
		}
	}
}

// Take takes a given address. One that is taken is errdefs.ErrAlreadyExists; one that is not the subnet's to give is
// errdefs.ErrInvalidArgument.
func (s *Subnet) Take(a netip.Addr) error {
	if !a.Is4() || number(a) < s.first || number(a) > s.last {
		return fmt.Errorf("address %s is not in subnet %s: %w", a, s.prefix, errdefs.ErrInvalidArgument)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[number(a)] {
		return errdefs.ErrAlreadyExists.WithMessage("Address already in use")
	}
	s.taken[number(a)] = true
	return nil
}

// Free gives an address back. Giving back what is free is no error.
func (s *Subnet) Free(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := number(a)
	delete(s.taken, n)
	if n >= s.low && n < s.from {
		s.from = n
	}
}

// MAC is the hardware address of the container with address a: Docker's rule, 02:42 and the four bytes of the
// address. Whoever gets the address after it answers to the same MAC, so no neighbour's table goes stale.
func MAC(a netip.Addr) []byte {
	b := a.As4()
	return []byte{0x02, 0x42, b[0], b[1], b[2], b[3]}
}
