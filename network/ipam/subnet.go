package ipam

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"

	"github.com/containerd/errdefs"
)

// Subnet hands out the addresses of one subnet, the lowest free one first. It remembers who had which address last, and
// gives that to nobody else while there are others. It is safe for concurrent use. A nil one is that of a network without
// this family: it has no addresses, and to take any from it is no error.
type Subnet struct {
	prefix      netip.Prefix
	first, last netip.Addr // addresses that can be had
	low, high   netip.Addr // those of them that are given to who asks for none

	mu    sync.Mutex
	taken map[netip.Addr]bool
	from  netip.Addr            // no address below can be given
	had   map[string]netip.Addr // by owner
	kept  map[netip.Addr]string // the other way round
}

// NewSubnet hands out what is usable of prefix: not its first address, which is the network's, nor the last, to which IPv4 sends what
// is for all, nor one of reserved; of two addresses, the ends of a link between two, both (RFC 3021 and 6164). Who asks for no address in
// particular gets one in within; the zero value is all of prefix.
func NewSubnet(prefix, within netip.Prefix, reserved ...netip.Addr) (*Subnet, error) {
	if !prefix.IsValid() || prefix.Bits() > prefix.Addr().BitLen()-1 {
		return nil, fmt.Errorf("subnet %s has no room for containers: %w", prefix, errdefs.ErrInvalidArgument)
	}
	s := &Subnet{
		prefix: prefix.Masked(),
		first:  prefix.Masked().Addr(),
		last:   last(prefix),
		taken:  map[netip.Addr]bool{},
		had:    map[string]netip.Addr{},
		kept:   map[netip.Addr]string{},
	}
	if ends := prefix.Bits() == prefix.Addr().BitLen()-1; !ends {
		if s.first = s.first.Next(); prefix.Addr().Is4() {
			s.last = s.last.Prev()
		}
	}
	s.low, s.high = s.first, s.last
	if within.IsValid() {
		if !prefix.Contains(within.Addr()) || within.Bits() < prefix.Bits() {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("range %s is not in subnet %s", within, prefix.Masked()))
		}
		if low := within.Masked().Addr(); s.low.Less(low) {
			s.low = low
		}
		if high := last(within); high.Less(s.high) {
			s.high = high
		}
	}
	s.from = s.low
	for _, r := range reserved {
		s.taken[r] = true
	}
	return s, nil
}

// Prefix is the subnet.
func (s *Subnet) Prefix() netip.Prefix {
	if s == nil {
		return netip.Prefix{}
	}
	return s.prefix
}

// Contains tells whether a is in the subnet.
func (s *Subnet) Contains(a netip.Addr) bool { return s.Prefix().Contains(a) }

// Next takes the lowest free address, preferring one that nobody had last. A full subnet is
// errdefs.ErrResourceExhausted.
func (s *Subnet) Next() (netip.Addr, error) {
	if s == nil {
		return netip.Addr{}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var second netip.Addr // the lowest that is free, but somebody's
	for a := s.from; !s.high.Less(a); a = a.Next() {
		if s.taken[a] {
			continue
		}
		if s.kept[a] != "" {
			if !second.IsValid() {
				second = a
			}
			continue
		}
		if !second.IsValid() {
			s.from = a.Next()
		}
		s.taken[a] = true
		return a, nil
	}
	if !second.IsValid() {
		s.from = s.high.Next()
		return netip.Addr{}, errdefs.ErrResourceExhausted.WithMessage(
			"no available " + family(s.low) + " addresses on this network's address pools: " + s.prefix.String())
	}
	s.forget(s.kept[second])
	s.taken[second] = true
	return second, nil
}

// Like takes the address that stands in this subnet where a stands in other, where that is free, nobody's and given to who
// asks for none; else it is Next. So a container's addresses of both families end alike, and go together to the next one.
func (s *Subnet) Like(a netip.Addr, other *Subnet) (netip.Addr, error) {
	if s == nil {
		return netip.Addr{}, nil
	}
	if same, ok := s.place(a, other); ok {
		return same, nil
	}
	return s.Next()
}

func (s *Subnet) place(a netip.Addr, other *Subnet) (netip.Addr, bool) {
	if other == nil || !other.Contains(a) || !a.Is4() {
		return netip.Addr{}, false
	}
	b, from, at := s.prefix.Addr().AsSlice(), a.As4(), other.prefix.Addr().As4()
	tail := b[len(b)-4:]
	binary.BigEndian.PutUint32(tail, binary.BigEndian.Uint32(tail)+binary.BigEndian.Uint32(from[:])-binary.BigEndian.Uint32(at[:]))
	same, _ := netip.AddrFromSlice(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.prefix.Contains(same) || same.Less(s.low) || s.high.Less(same) || s.taken[same] || s.kept[same] != "" {
		return netip.Addr{}, false
	}
	s.taken[same] = true
	return same, true
}

// Remember notes that a is the owner's.
func (s *Subnet) Remember(owner string, a netip.Addr) {
	if !s.Contains(a) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(owner)
	s.forget(s.kept[a])
	s.had[owner], s.kept[a] = a, owner
}

// Recall is the address that the owner had last, unless it was given to somebody else.
func (s *Subnet) Recall(owner string) (netip.Addr, bool) {
	if s == nil {
		return netip.Addr{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.had[owner]
	return a, ok
}

// Forget ends what Remember began.
func (s *Subnet) Forget(owner string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(owner)
}

func (s *Subnet) forget(owner string) {
	if a, ok := s.had[owner]; ok {
		delete(s.had, owner)
		delete(s.kept, a)
		if !s.taken[a] {
			s.lower(a)
		}
	}
}

// lower has the search for free addresses begin at a, where that is earlier than now.
func (s *Subnet) lower(a netip.Addr) {
	if !a.Less(s.low) && a.Less(s.from) {
		s.from = a
	}
}

// Take takes a given address. One that is taken is errdefs.ErrAlreadyExists; one that is not the subnet's to give is
// errdefs.ErrInvalidArgument.
func (s *Subnet) Take(a netip.Addr) error {
	if s == nil {
		return nil
	}
	if !s.prefix.Contains(a) || a.Less(s.first) || s.last.Less(a) {
		return fmt.Errorf("address %s is not in subnet %s: %w", a, s.prefix, errdefs.ErrInvalidArgument)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[a] {
		return errdefs.ErrAlreadyExists.WithMessage("Address already in use")
	}
	s.taken[a] = true
	return nil
}

// Free gives an address back. Giving back what is free is no error.
func (s *Subnet) Free(a netip.Addr) {
	if s == nil || !a.IsValid() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.taken, a)
	s.lower(a)
}

// MAC is the hardware address of the container with address a: Docker's rule, 02:42 and the four bytes of the IPv4
// address; of an IPv6 one, four bytes made from it. Whoever gets the address after it answers to the same MAC, so no
// neighbour's table goes stale.
func MAC(a netip.Addr) []byte {
	if !a.Is4() {
		b := a.As16()
		sum := sha256.Sum256(b[:])
		return append([]byte{0x02, 0x42}, sum[:4]...)
	}
	b := a.As4()
	return []byte{0x02, 0x42, b[0], b[1], b[2], b[3]}
}
