package ipam

import "net/netip"

// Pair is an endpoint's addresses, one of each family; the zero value of one is none, or, in a wish, any.
type Pair struct{ V4, V6 netip.Addr }

// IsValid tells whether there is an address at all.
func (p Pair) IsValid() bool { return p.First().IsValid() }

// First is the address that stands for the endpoint: that of IPv4 where it has one.
func (p Pair) First() netip.Addr {
	if p.V4.IsValid() {
		return p.V4
	}
	return p.V6
}

// All are the addresses that there are.
func (p Pair) All() []netip.Addr {
	var all []netip.Addr
	for _, a := range []netip.Addr{p.V4, p.V6} {
		if a.IsValid() {
			all = append(all, a)
		}
	}
	return all
}

// Meets tells whether the pair is what is wanted.
func (p Pair) Meets(want Pair) bool {
	return (!want.V4.IsValid() || want.V4 == p.V4) && (!want.V6.IsValid() || want.V6 == p.V6)
}

// Shares tells whether the pairs have an address in common.
func (p Pair) Shares(other Pair) bool {
	return p.V4.IsValid() && p.V4 == other.V4 || p.V6.IsValid() && p.V6 == other.V6
}

// Without is the pair without the addresses that are also in other.
func (p Pair) Without(other Pair) Pair {
	if p.V4 == other.V4 {
		p.V4 = netip.Addr{}
	}
	if p.V6 == other.V6 {
		p.V6 = netip.Addr{}
	}
	return p
}

// Or is the pair with the addresses of other in the place of its own, where there are such.
func (p Pair) Or(other Pair) Pair {
	return Pair{V4: first(other.V4, p.V4), V6: first(other.V6, p.V6)}
}

// For is the pair without addresses of a family that the other has none of.
func (p Pair) For(other Pair) Pair {
	if !other.V4.IsValid() {
		p.V4 = netip.Addr{}
	}
	if !other.V6.IsValid() {
		p.V6 = netip.Addr{}
	}
	return p
}

func first(a, b netip.Addr) netip.Addr {
	if a.IsValid() {
		return a
	}
	return b
}

// PairOf sorts addresses by family.
func PairOf(addresses ...netip.Addr) Pair {
	var p Pair
	for _, a := range addresses {
		switch {
		case a.Is4():
			p.V4 = a
		case a.IsValid():
			p.V6 = a
		}
	}
	return p
}

// Space is what a network has to give: a subnet of each family, nil for a family that it does not have.
type Space struct{ V4, V6 *Subnet }

// Take takes an address of each family: the ones wanted, or any. It is all or nothing.
func (s Space) Take(want Pair) (Pair, error) { return s.Complete(Pair{}, want) }

// Complete is Take for who has an address already; that stays taken when it fails.
func (s Space) Complete(have, want Pair) (got Pair, err error) {
	got = have
	if s.V4 != nil && !have.V4.IsValid() {
		if got.V4 = want.V4; got.V4.IsValid() {
			err = s.V4.Take(got.V4)
		} else {
			got.V4, err = s.V4.Next()
		}
	}
	if err != nil {
		return Pair{}, err
	}
	if s.V6 != nil && !have.V6.IsValid() {
		if got.V6 = want.V6; got.V6.IsValid() {
			err = s.V6.Take(got.V6)
		} else {
			got.V6, err = s.V6.Like(got.V4, s.V4)
		}
	}
	if err != nil {
		if !have.V4.IsValid() {
			s.V4.Free(got.V4)
		}
		return Pair{}, err
	}
	return got, nil
}

// Keep takes addresses for who has them already, each where it is not taken.
func (s Space) Keep(p Pair) {
	s.V4.Take(p.V4)
	s.V6.Take(p.V6)
}

// Free gives addresses back.
func (s Space) Free(p Pair) {
	s.V4.Free(p.V4)
	s.V6.Free(p.V6)
}

// Overlaps tells whether one of the addresses is in the space.
func (s Space) Overlaps(p Pair) bool { return s.V4.Contains(p.V4) || s.V6.Contains(p.V6) }

// Remember notes that addresses are the owner's.
func (s Space) Remember(owner string, p Pair) {
	s.V4.Remember(owner, p.V4)
	s.V6.Remember(owner, p.V6)
}

// Recall is what the owner had last and nobody else has got since.
func (s Space) Recall(owner string) (p Pair) {
	p.V4, _ = s.V4.Recall(owner)
	p.V6, _ = s.V6.Recall(owner)
	return p
}

// Forget ends what Remember began.
func (s Space) Forget(owner string) {
	s.V4.Forget(owner)
	s.V6.Forget(owner)
}
