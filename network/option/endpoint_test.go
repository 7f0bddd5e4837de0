package option

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"
)

func TestEndpointsOfPredefinedNetworks(t *testing.T) {
	for _, tc := range []struct {
		e    *nt.EndpointSettings
		want string
	}{
		{nil, ""},
		{&nt.EndpointSettings{}, ""},
		{&nt.EndpointSettings{Aliases: []string{"a"}}, "network-scoped aliases are only supported for user-defined networks"},
		{&nt.EndpointSettings{IPAMConfig: &nt.EndpointIPAMConfig{IPv4Address: netip.MustParseAddr("1.2.3.4")}}, "user specified IP address is supported on user defined networks only"},
	} {
		err := CheckEndpoint("bridge", true, tc.e)
		if tc.want == "" {
			if err != nil {
				t.Errorf("%+v: %v", tc.e, err)
			}
			continue
		}
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc.e, err)
		}
	}
}
