package ipam

import (
	"fmt"
	"net/netip"
	"sync"

	"github.com/containerd/errdefs"
)

// Subnet hands out the addresses of one IPv4 subnet, the lowest free one first. It is safe for concurrent use.
type Subnet struct {
	prefix      netip.Prefix
	first, last uint32 // usable addresses

	mu    sync.Mutex
	taken map[uint32]bool
	from  uint32 // no address below is free
}

// NewSubnet hands out what is usable of prefix: neither its first nor its last address, nor one of reserved.
func NewSubnet(prefix netip.Prefix, reserved ...netip.Addr) (*Subnet, error) {
	if !prefix.IsValid() || !prefix.Addr().Is4() || prefix.Bits() > 30 {
		return nil, fmt.Errorf("subnet %s has no room for containers: %w", prefix, errdefs.ErrInvalidArgument)
	}
	s := &Subnet{
		prefix: prefix.Masked(),
		first:  number(prefix.Masked().Addr()) + 1,
		last:   number(last(prefix)) - 1,
		taken:  map[uint32]bool{},
	}
	s.from = s.first
	for _, r := range reserved {
		s.taken[number(r)] = true
	}
	return s, nil
}

// Prefix is the subnet.
func (s *Subnet) Prefix() netip.Prefix { return s.prefix }

// Contains tells whether a is in the subnet.
func (s *Subnet) Contains(a netip.Addr) bool { return s.prefix.Contains(a) }

// Next takes the lowest free address. A full subnet is errdefs.ErrResourceExhausted.
func (s *Subnet) Next() (netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := s.from; n <= s.last; n++ {
		if !s.taken[n] {
			s.taken[n] = true
			s.from = n + 1
			return address(n), nil
		}
	}
	s.from = s.last + 1
	return netip.Addr{}, errdefs.ErrResourceExhausted.WithMessage("no available IPv4 addresses on this network's address pools: " + s.prefix.String())
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
	if n >= s.first && n < s.from {
		s.from = n
	}
}

// MAC is the hardware address of the container with address a: Docker's rule, 02:42 and the four bytes of the
// address. Whoever gets the address after it answers to the same MAC, so no neighbour's table goes stale.
func MAC(a netip.Addr) []byte {
	b := a.As4()
	return []byte{0x02, 0x42, b[0], b[1], b[2], b[3]}
}
