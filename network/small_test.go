package network

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	nt "github.com/moby/moby/api/types/network"
)

// TestSmallestSubnets: on subnets as small as they can be there is room for one container, or for three, who is reached there; the next one
// is told why there is none, and has it when somebody leaves.
func TestSmallestSubnets(t *testing.T) {
	in := start(t, testConfig(t, 0))
	for _, tc := range []struct {
		four, six int
		room      []string
	}{
		{31, 127, []string{"a"}},
		{31, 64, []string{"a"}},
		{30, 126, []string{"a"}},
		{29, 126, []string{"a", "b"}},
	} {
		four := netip.PrefixFrom(userSubnet(0).Addr(), tc.four)
		in.makeNet(t, "n", 0, func(r *nt.CreateRequest) {
			dual(0)(r)
			r.IPAM.Config[0].Subnet, r.IPAM.Config[1].Subnet = four, netip.PrefixFrom(subnet6(0).Addr(), tc.six)
		})
		for _, id := range tc.room {
			box := in.join(t, id, on(id, "n"))
			serve(t, box.NetNS, 80)
			serve6(t, box.NetNS, 80)
			for _, at := range []netip.Addr{box.Endpoints["n"].IPAddress, box.Endpoints["n"].GlobalIPv6Address} {
				if got := reach(t, nil, at, 80, true); fails(got) {
					t.Errorf("/%d and /%d: %s at %s: %s", tc.four, tc.six, id, at, got)
				}
			}
		}
		t.Cleanup(func() { in.leave("late") })
		_, err := in.Join(context.Background(), "late", on("late", "n"))
		if err == nil || !strings.Contains(err.Error(), "no available IPv") || !strings.Contains(err.Error(), "addresses on this network's address pools") {
			t.Errorf("/%d and /%d: one more: %v", tc.four, tc.six, err)
		}
		in.Leave("a")
		if _, err := in.Join(context.Background(), "late", on("late", "n")); err != nil {
			t.Errorf("/%d and /%d: after one left: %v", tc.four, tc.six, err)
		}
		for _, id := range append(tc.room, "late") {
			in.Leave(id)
			in.Forget(id)
		}
		if err := in.Remove(context.Background(), "n"); err != nil {
			t.Error(err)
		}
	}
}
