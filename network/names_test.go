package network

import (
	"net/netip"
	"slices"
	"testing"

	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/option"
)

// TestNamesOfWhoIsApart: of a container's addresses others are told those at which they reach it, where there are such.
func TestNamesOfWhoIsApart(t *testing.T) {
	in := start(t, testConfig(t, 0))
	in.makeNet(t, "apart", 0, func(r *nt.CreateRequest) { r.Options = map[string]string{option.ICC: "false"} })
	in.makeNet(t, "inner", 1, func(r *nt.CreateRequest) { r.Internal = true })
	both := in.join(t, "both", on("both", "apart", "inner"))
	in.join(t, "asker", on("asker", "apart", "inner"))
	in.join(t, "far", on("far", "apart"))
	serve(t, both.NetNS, 80)
	got, known := in.Lookup("asker", "both")
	if want := []netip.Addr{both.Endpoints["inner"].IPAddress}; !known || !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, known := in.Lookup("far", "both"); !known || len(got) != 1 || got[0] != both.Endpoints["apart"].IPAddress {
		t.Errorf("by the network that keeps them apart alone: %v %v", got, known)
	}
	if got, known := in.Lookup("asker", "both.apart"); !known || len(got) != 1 || got[0] != both.Endpoints["apart"].IPAddress {
		t.Errorf("by the network's name: %v %v", got, known)
	}
}
