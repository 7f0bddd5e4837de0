package network

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/network/option"
)

// TestConfigurations: a network is made as a configuration says, which nobody can be on and which stays while there is such a network.
func TestConfigurations(t *testing.T) {
	ctx := context.Background()
	in := start(t, testConfig(t, 0))
	yes := true
	shape := nt.CreateRequest{
		Name: "cfg", ConfigOnly: true, EnableIPv6: &yes, Labels: map[string]string{"a": "b"}, Options: map[string]string{option.MTU: "1300"},
		IPAM: &nt.IPAM{Config: []nt.IPAMConfig{{Subnet: userSubnet(0)}, {Subnet: subnet6(0)}}},
	}
	if _, err := in.Create(ctx, shape); err != nil {
		t.Fatal(err)
	}
	from := func(name string, change func(*nt.CreateRequest)) error {
		req := nt.CreateRequest{Name: name, ConfigFrom: &nt.ConfigReference{Network: "cfg"}}
		if change != nil {
			change(&req)
		}
		_, err := in.Create(ctx, req)
		return err
	}
	for what, change := range map[string]func(*nt.CreateRequest){
		"user specified configurations are not": func(r *nt.CreateRequest) { r.IPAM = &nt.IPAM{Config: []nt.IPAMConfig{{Subnet: userSubnet(1)}}} },
		"network driver options are not":        func(r *nt.CreateRequest) { r.Options = map[string]string{option.MTU: "1400"} },
		"cannot depend on another":              func(r *nt.CreateRequest) { r.ConfigOnly = true },
		"can only contain network specific":     func(r *nt.CreateRequest) { r.ConfigOnly, r.Internal = true, true },
		`configuration network "bridge" does`:   func(r *nt.CreateRequest) { r.ConfigFrom.Network = "bridge" },
		`configuration network "absent" does`:   func(r *nt.CreateRequest) { r.ConfigFrom.Network = "absent" },
	} {
		if err := from("n", change); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := from("n", func(r *nt.CreateRequest) { r.Internal = true }); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Join(ctx, "x", on("x", "cfg")); !errdefs.IsPermissionDenied(err) {
		t.Errorf("a container on a configuration: %v", err)
	}
	check := func() {
		t.Helper()
		cfg, err := in.Inspect("cfg")
		if err != nil || !cfg.ConfigOnly || cfg.Driver != "null" || !cfg.EnableIPv6 || len(cfg.IPAM.Config) != 2 || cfg.Options[option.MTU] != "1300" {
			t.Errorf("%v %+v", err, cfg)
		}
		n, err := in.Inspect("n")
		if err != nil || n.ConfigOnly || n.ConfigFrom.Network != "cfg" || n.Driver != "bridge" || !n.Internal || n.Labels["a"] != "b" || len(n.IPAM.Config) != 2 ||
			n.IPAM.Config[0].Subnet != userSubnet(0) || n.IPAM.Config[0].Gateway.IsValid() || n.Options[option.MTU] != "1300" {
			t.Errorf("%v %+v", err, n)
		}
	}
	check()
	if err := in.Remove(ctx, "cfg"); err == nil || !strings.Contains(err.Error(), `configuration network "cfg" is in use`) {
		t.Errorf("removed while it is in use: %v", err)
	}
	in.crash()
	in.open(t)
	if err := in.Sweep(); err != nil {
		t.Fatal(err)
	}
	check()
	box := in.join(t, "c", on("c", "n"))
	if !box.Endpoints["n"].IPAddress.IsValid() || !box.Endpoints["n"].GlobalIPv6Address.IsValid() || box.Endpoints["n"].Gateway != (netip.Addr{}) {
		t.Errorf("%+v", box.Endpoints["n"])
	}
	box.NetNS.Close()
	in.Leave("c")
	if found, err := in.Check(ctx, false); err != nil || len(found.Faults) > 0 {
		t.Errorf("%v %+v", err, found.Faults)
	}
	if err := in.Remove(ctx, "n"); err != nil {
		t.Fatal(err)
	}
	if report, err := in.Prune(ctx, api.Filters{}); err != nil || len(report.NetworksDeleted) > 0 {
		t.Errorf("a configuration is pruned: %v %v", err, report)
	}
	if err := in.Remove(ctx, "cfg"); err != nil {
		t.Error(err)
	}
}
