package ipam

import (
	"net/netip"
	"testing"

	"github.com/containerd/errdefs"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func TestChooseStepsAroundWhatIsTaken(t *testing.T) {
	small := []Pool{{netip.MustParsePrefix("10.0.0.0/22"), 24}}
	for _, tc := range []struct {
		name  string
		pools []Pool
		taken []netip.Prefix
		want  string
	}{
		{"nothing taken", Defaults(), nil, "172.17.0.0/16"},
		{"default route does not count", Defaults(), prefixes("0.0.0.0/0"), "172.17.0.0/16"},
		{"first taken", Defaults(), prefixes("172.17.0.0/16"), "172.18.0.0/16"},
		{"a host inside", Defaults(), prefixes("172.17.5.1/32"), "172.18.0.0/16"},
		{"a wide route", Defaults(), prefixes("172.16.0.0/12"), "192.168.0.0/20"},
		{"wide and the first of the last pool", Defaults(), prefixes("172.16.0.0/12", "192.168.1.0/24"), "192.168.16.0/20"},
		{"all but the last", small, prefixes("10.0.0.0/23", "10.0.2.0/25"), "10.0.3.0/24"},
		{"IPv6 routes do not matter", small, prefixes("fd00::/8"), "10.0.0.0/24"},
		{"IPv6", []Pool{{netip.MustParsePrefix("fd00:1::/48"), 64}}, prefixes("fd00:1::/64", "fd00:1:0:1::5/128", "10.0.0.0/8"), "fd00:1:0:2::/64"},
		{"IPv6 under a wide route", []Pool{{netip.MustParsePrefix("fd00:1::/48"), 64}, {netip.MustParsePrefix("fd00:2::/48"), 64}}, prefixes("::/0", "fd00:1::/32"), "fd00:2::/64"},
		{"end of the address space", []Pool{{netip.MustParsePrefix("255.255.255.0/24"), 25}}, prefixes("255.255.255.0/25"), "255.255.255.128/25"},
	} {
		got, err := Choose(tc.pools, tc.taken)
		if err != nil || got.String() != tc.want {
			t.Errorf("%s: %v, %v; want %s", tc.name, got, err, tc.want)
		}
	}
}

func TestChooseWithoutRoom(t *testing.T) {
	_, err := Choose([]Pool{{netip.MustParsePrefix("255.255.255.0/24"), 25}}, prefixes("255.0.0.0/8"))
	if !errdefs.IsInvalidArgument(err) || err.Error() != "all predefined address pools have been fully subnetted" {
		t.Errorf("got %v", err)
	}
	for _, bad := range []Pool{{netip.MustParsePrefix("10.0.0.0/16"), 8}, {netip.MustParsePrefix("10.0.0.0/16"), 31}, {netip.MustParsePrefix("fd00::/120"), 127}, {}} {
		if _, err := Choose([]Pool{bad}, nil); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v: got %v", bad, err)
		}
	}
}

func TestSubnetHandsOutTheLowest(t *testing.T) {
	s, err := NewSubnet(netip.MustParsePrefix("10.1.2.9/29"), netip.Prefix{}, netip.MustParseAddr("10.1.2.9"))
	if err != nil {
		t.Fatal(err)
	}
	next := func() string {
		a, err := s.Next()
		if err != nil {
			return "none"
		}
		return a.String()
	}
	if err := s.Take(netip.MustParseAddr("10.1.2.11")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"10.1.2.10", "10.1.2.12", "10.1.2.13", "10.1.2.14", "none"} {
		if got := next(); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	s.Free(netip.MustParseAddr("10.1.2.13"))
	s.Free(netip.MustParseAddr("10.1.2.11"))
	s.Free(netip.MustParseAddr("10.9.9.9"))
	for _, want := range []string{"10.1.2.11", "10.1.2.13", "none"} {
		if got := next(); got != want {
			t.Fatalf("after freeing: got %s, want %s", got, want)
		}
	}
	if err := s.Take(netip.MustParseAddr("10.1.2.12")); !errdefs.IsAlreadyExists(err) {
		t.Errorf("taking a taken one: %v", err)
	}
	for _, foreign := range []string{"10.1.2.8", "10.1.2.15", "10.2.0.1", "::1"} {
		if err := s.Take(netip.MustParseAddr(foreign)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("taking %s: %v", foreign, err)
		}
	}
}

func TestSubnetTooSmall(t *testing.T) {
	for _, p := range []string{"10.0.0.0/32", "fd00::/128"} {
		if _, err := NewSubnet(netip.MustParsePrefix(p), netip.Prefix{}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// TestLinksBetweenTwo: a subnet of two addresses has both to give.
func TestLinksBetweenTwo(t *testing.T) {
	for _, p := range []string{"10.0.0.4/31", "fd00::4/127"} {
		s, err := NewSubnet(netip.MustParsePrefix(p), netip.Prefix{})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []netip.Addr{netip.MustParsePrefix(p).Addr(), netip.MustParsePrefix(p).Addr().Next()} {
			if got, err := s.Next(); err != nil || got != want {
				t.Errorf("%s: %s %v, want %s", p, got, err, want)
			}
		}
		if _, err := s.Next(); !errdefs.IsResourceExhausted(err) {
			t.Errorf("%s, a third: %v", p, err)
		}
	}
}

func TestMAC(t *testing.T) {
	if got := MAC(netip.MustParseAddr("172.17.0.2")); string(got) != "\x02\x42\xac\x11\x00\x02" {
		t.Errorf("got % x", got)
	}
}

func TestSubnetRemembersOwners(t *testing.T) {
	s, err := NewSubnet(netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("10.1.2.16/30"), netip.MustParseAddr("10.1.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	at := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, 2, n}) }
	next := func(want byte) {
		t.Helper()
		if got, err := s.Next(); err != nil || got != at(want) {
			t.Errorf("got %s, %v; want %s", got, err, at(want))
		}
	}
	next(16)
	s.Remember("a", at(16))
	s.Free(at(16))
	next(17)
	if got, ok := s.Recall("a"); !ok || got != at(16) {
		t.Errorf("recalled %s, %v", got, ok)
	}
	next(18)
	next(19)
	next(16) // nothing else is left
	if _, ok := s.Recall("a"); ok {
		t.Error("an address given to somebody else is still remembered")
	}
	if _, err := s.Next(); !errdefs.IsResourceExhausted(err) {
		t.Errorf("a full range: %v", err)
	}
	if err := s.Take(at(200)); err != nil {
		t.Errorf("outside the range, inside the subnet: %v", err)
	}
	s.Free(at(18))
	s.Remember("b", at(18))
	s.Forget("b")
	next(18)
	if _, err := NewSubnet(netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("10.1.3.0/30")); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a range elsewhere: %v", err)
	}
}

// TestRememberAnew: an address that another has since is not the first one's any more, whatever becomes of that.
func TestRememberAnew(t *testing.T) {
	s, err := NewSubnet(netip.MustParsePrefix("10.0.0.0/24"), netip.Prefix{})
	if err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddr("10.0.0.9")
	s.Remember("old", a)
	s.Remember("new", a)
	if got, ok := s.Recall("old"); ok {
		t.Errorf("the old owner still has %s", got)
	}
	s.Forget("old")
	if got, ok := s.Recall("new"); !ok || got != a {
		t.Errorf("the new owner has %v %v", got, ok)
	}
}

func TestUniqueIsOnesOwn(t *testing.T) {
	one, same, other := Unique("one"), Unique("one"), Unique("other")
	if one != same || one == other || one.Base.Bits() != 48 || one.Size != 64 || one.Base.Addr().As16()[0] != 0xfd || Check(one) != nil {
		t.Errorf("%v %v %v", one, same, other)
	}
}

func TestSubnetOfIPv6(t *testing.T) {
	at := netip.MustParseAddr
	v4, err := NewSubnet(netip.MustParsePrefix("10.1.0.1/16"), netip.Prefix{}, at("10.1.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	v6, err := NewSubnet(netip.MustParsePrefix("fd00::1/64"), netip.Prefix{}, at("fd00::1"))
	if err != nil {
		t.Fatal(err)
	}
	like := func(a, want string) {
		t.Helper()
		if got, err := v6.Like(at(a), v4); err != nil || got != at(want) {
			t.Errorf("like %s: %s, %v; want %s", a, got, err, want)
		}
	}
	like("10.1.0.2", "fd00::2")
	like("10.1.1.7", "fd00::107")
	like("10.1.0.2", "fd00::3") // the one alike is taken
	like("10.2.0.9", "fd00::4") // of another subnet
	v6.Remember("a", at("fd00::5"))
	like("10.1.0.5", "fd00::6")
	if a, err := v6.Like(netip.Addr{}, nil); err != nil || a != at("fd00::7") {
		t.Errorf("without another family: %s %v", a, err)
	}
	if err := v6.Take(at("fd00::ffff:ffff:ffff:ffff")); err != nil {
		t.Error(err)
	}
	for _, foreign := range []string{"fd00::", "fd01::2", "10.1.0.2"} {
		if err := v6.Take(at(foreign)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("taking %s: %v", foreign, err)
		}
	}
	small, err := NewSubnet(netip.MustParsePrefix("fd00:2::/120"), netip.MustParsePrefix("fd00:2::10/126"))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := small.Like(at("10.1.0.2"), v4); err != nil || a != at("fd00:2::10") {
		t.Errorf("outside the range: %s %v", a, err)
	}
	if string(MAC(at("fd00::2"))) == string(MAC(at("fd00::3"))) || MAC(at("fd00::2"))[0] != 2 {
		t.Error("hardware addresses of IPv6 addresses do not differ, or are not local")
	}
}

// TestNilSubnet: a network without a family takes nothing from it, without an error.
func TestNilSubnet(t *testing.T) {
	var s *Subnet
	a, err := s.Next()
	if a.IsValid() || err != nil || s.Take(netip.MustParseAddr("fd00::2")) != nil || s.Prefix().IsValid() || s.Contains(a) {
		t.Errorf("%v %v", a, err)
	}
	s.Free(a)
	s.Remember("a", netip.MustParseAddr("fd00::2"))
	s.Forget("a")
	if _, ok := s.Recall("a"); ok {
		t.Error("remembered")
	}
}

func TestCounts(t *testing.T) {
	for _, tc := range []struct {
		subnet, within string
		take           []string
		used, left     uint64
	}{
		{"10.1.2.0/24", "", nil, 3, 253},
		{"10.1.2.0/24", "10.1.2.128/25", []string{"10.1.2.5", "10.1.2.200"}, 5, 126},
		{"10.1.2.0/30", "", []string{"10.1.2.2"}, 4, 0},
		{"10.1.2.0/31", "", nil, 1, 1},
		{"fd00::/127", "", nil, 1, 1},
		{"fd00::/126", "", nil, 2, 2},
		{"fd00::/96", "", nil, 2, 1<<32 - 2},
		{"fd00::/64", "", nil, 2, 1<<64 - 2},
		{"fd00::/48", "", nil, 2, 1<<64 - 1},
	} {
		prefix := netip.MustParsePrefix(tc.subnet)
		var within netip.Prefix
		if tc.within != "" {
			within = netip.MustParsePrefix(tc.within)
		}
		s, err := NewSubnet(prefix, within, prefix.Addr().Next())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range tc.take {
			if err := s.Take(netip.MustParseAddr(a)); err != nil {
				t.Fatal(err)
			}
		}
		if used, left := s.Counts(); used != tc.used || left != tc.left {
			t.Errorf("%s: %d used, %d left, want %d and %d", tc.subnet, used, left, tc.used, tc.left)
		}
	}
}
