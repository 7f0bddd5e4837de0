package network

import (
	"fmt"
	"net/netip"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
	"github.com/cove-containers/cove/network/option"
)

// chooseAddresses decides the default bridge's addresses, called name, in its record.
func (k *Keeper) chooseAddresses(name string, r *record) error {
	taken, err := bridge.Taken(name)
	if err != nil {
		return err
	}
	for other, o := range k.records {
		if other != nt.NetworkBridge {
			taken = append(taken, o.subnets()...)
		}
	}
	// Containers that kept running hold on to the bridge as it is.
	last := append(bridge.Addresses(name), r.Bridge, r.Bridge6)
	r.Bridge6, r.Config6 = netip.Prefix{}, nt.IPAMConfig{}
	for _, of := range []struct {
		six    bool
		bridge *netip.Prefix
		rest   *nt.IPAMConfig
		router netip.Addr
	}{{false, &r.Bridge, &r.Config, k.cfg.Gateway.V4}, {true, &r.Bridge6, &r.Config6, k.cfg.Gateway.V6}} {
		if of.six && !k.cfg.IPv6 {
			continue
		}
		var wish netip.Prefix
		wish, *of.rest = k.cfg.Default(of.six)
		if *of.bridge, err = k.chooseAddress(wish, familyOf(last, of.six), taken, k.pools(of.six)); err != nil {
			return err
		}
		if of.router.IsValid() && !of.bridge.Contains(of.router) {
			return fmt.Errorf("default gateway %s is not in the default network's subnet %s: %w", of.router, of.bridge.Masked(), errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// chooseAddress decides one of the default bridge's addresses: as wished, else as last time where the host routes nothing
// there since, else from the pools.
func (k *Keeper) chooseAddress(wish netip.Prefix, last, taken []netip.Prefix, pools []ipam.Pool) (netip.Prefix, error) {
	if wish.IsValid() {
		kind, example, six := "IPv4", "10.20.0.1/24", pools[0].Base.Addr().Is6()
		if six {
			kind, example = "IPv6", "fd00:20::1/64"
		}
		if wish.Addr().Is6() != six || wish.Bits() > wish.Addr().BitLen()-2 || wish.Addr() == wish.Masked().Addr() {
			return netip.Prefix{}, fmt.Errorf("bridge address %s: want an %s address with its prefix length, such as %s: %w", wish, kind, example, errdefs.ErrInvalidArgument)
		}
		if other, clash := ipam.Overlap(wish, taken); clash {
			return netip.Prefix{}, fmt.Errorf("bridge address %s overlaps the host's route to %s: %w", wish, other, errdefs.ErrConflict)
		}
		return wish, nil
	}
	for _, known := range last {
		if _, clash := ipam.Overlap(known, taken); known.IsValid() && !clash {
			return known, nil
		}
	}
	subnet, err := ipam.Choose(pools, taken)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits()), nil
}

// familyOf are those of IPv6, or of IPv4.
func familyOf(all []netip.Prefix, six bool) (out []netip.Prefix) {
	for _, p := range all {
		if p.Addr().Is6() == six {
			out = append(out, p)
		}
	}
	return out
}

// pools are the ranges of a family that subnets are cut from. Those of IPv6 are this engine's own where none are configured: they are
// made from the ID of its default network, which nobody else has and which stays.
func (k *Keeper) pools(six bool) []ipam.Pool {
	var pools []ipam.Pool
	for _, p := range k.cfg.Pools {
		if p.Base.Addr().Is6() == six {
			pools = append(pools, ipam.Pool(p))
		}
	}
	switch {
	case len(pools) > 0:
		return pools
	case six:
		return []ipam.Pool{ipam.Unique(k.records[nt.NetworkBridge].ID)}
	}
	return ipam.Defaults()
}

// subnets are those that the network has.
func (r record) subnets() (all []netip.Prefix) {
	for _, p := range []netip.Prefix{r.Bridge, r.Bridge6} {
		if p.IsValid() {
			all = append(all, p.Masked())
		}
	}
	return all
}

// gateways are the addresses that nobody else gets: where the network leads out by them, or they were asked for.
func (r record) gateways(set option.Network) ipam.Pair {
	p := ipam.Pair{V4: r.Bridge.Addr(), V6: r.Bridge6.Addr()}
	if set.Gateway4 == option.Isolated || set.Inhibit && r.Internal {
		p.V4 = r.Config.Gateway
	}
	if set.Gateway6 == option.Isolated {
		p.V6 = r.Config6.Gateway
	}
	return p
}

// onBridge are the addresses that the host has on the network.
func (l *lan) onBridge(r record) (all []netip.Prefix) {
	if r.Bridge.IsValid() && l.settings.Gateway4 != option.Isolated && !l.settings.Inhibit {
		all = append(all, r.Bridge)
	}
	if r.Bridge6.IsValid() && l.settings.Gateway6 != option.Isolated {
		all = append(all, r.Bridge6)
	}
	return all
}
