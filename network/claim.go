package network

import (
	"net"
	"net/netip"
	"time"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
)

// fit makes a device that was made ahead what the endpoint asks for.
func (k *Keeper) fit(r *ready, wish *nt.EndpointSettings) error {
	ns, p := r.ns, &r.port
	mac, linkLocal, opts := wishedMAC(wish), wishedLinkLocal(wish), wishedOptions(wish)
	if err := ns.Set(p.Inside, opts.Sysctls); err != nil {
		return err
	}
	if mac == nil && len(linkLocal) == 0 && !opts.Routing {
		return nil
	}
	if mac != nil && r.lan.parent != nil && r.lan.parent.SharesMAC() {
		return errdefs.ErrInvalidArgument.WithMessage("containers on an ipvlan network have the hardware address of its parent: none can be asked for")
	}
	now := *p
	now.LinkLocal, now.Routes = linkLocal, p.Routes || opts.Routing
	if mac != nil {
		now.MAC = net.HardwareAddr(mac)
	}
	if r.lan.parent == nil {
		if err := k.table.Admit(memberOf(now)); err != nil {
			return err
		}
	}
	if mac != nil {
		if err := ns.SetMAC(*p, now.MAC); err != nil {
			return err
		}
	}
	if err := ns.GiveLinkLocal(now, linkLocal); err != nil {
		return err
	}
	*p = now
	return k.announce(r.lan, ns, now)
}

// claim takes addresses on l: those wanted, or at least those that must be, with noIPv6 of IPv4 alone where l has that. What is only kept
// ready gives way.
func (k *Keeper) claim(l *lan, want, must ipam.Pair, noIPv6 bool) (ipam.Pair, error) {
	space := l.space
	if noIPv6 && space.V4 != nil {
		space.V6, want.V6, must.V6 = nil, netip.Addr{}, netip.Addr{}
	}
	if want != must {
		if got, err := space.Take(want); err == nil {
			return got, nil
		}
	}
	var have ipam.Pair
	for again := k.scarce(l); ; {
		got, err := space.Complete(have, must)
		if err == nil {
			return got, nil
		}
		var more ipam.Pair
		if missing := must.Without(have); errdefs.IsAlreadyExists(err) && missing.IsValid() || errdefs.IsResourceExhausted(err) {
			more = k.yield(l, missing)
		}
		if !more.IsValid() && errdefs.IsResourceExhausted(err) && again() {
			continue
		}
		if !more.IsValid() {
			l.space.Free(have)
			return ipam.Pair{}, err
		}
		have = ipam.PairOf(append(have.All(), more.All()...)...)
		if space.V6 == nil {
			l.space.V6.Free(have.V6)
			have.V6 = netip.Addr{}
		}
	}
}

// scarce is asked, each time that no address of l is free, whether there may be one now: that of a container that is going is had at
// once, and one that is on its way from one to another is with somebody in a moment.
func (k *Keeper) scarce(l *lan) (again func() bool) {
	const moment, moments = 25 * time.Millisecond, 20
	passed := 0
	return func() bool {
		if k.graves.relieve(l) {
			return true
		}
		time.Sleep(moment)
		passed++
		return passed < moments
	}
}

// yield has the pool of l give up a namespace that it keeps ready with one of these addresses, or, where there are none, any, and
// gives what it had of them to the caller; the zero value where the pool has none.
func (k *Keeper) yield(l *lan, want ipam.Pair) ipam.Pair {
	k.mu.Lock()
	pool := l.warm
	k.mu.Unlock()
	if pool == nil {
		return ipam.Pair{}
	}
	r, ok := pool.Yield(want)
	if !want.IsValid() {
		r, ok = pool.Find(want)
	}
	if !ok {
		return ipam.Pair{}
	}
	r.close()
	had := r.Addresses()
	if err := bridge.RemovePort(r.port.Name); err != nil {
		k.log.Warn("remove network device", "device", r.port.Name, "err", err)
		k.graves.add(grave{veth: r.port.Name, lan: l, addresses: had})
		return ipam.Pair{}
	}
	k.unplug(l, r.port.Name)
	if !want.IsValid() {
		return had
	}
	rest := had.Without(want)
	l.space.Free(rest)
	return had.Without(rest)
}

// takeReady gives a namespace that is on l: one made ahead, unless it is the container's own, has not IPv6, or its device is to have a
// name of its own.
func (k *Keeper) takeReady(l *lan, want, must ipam.Pair, device string, req Request) (r *ready, err error) {
	if device == "" && (req.Own != nil || req.NoIPv6 && l.space.V6 != nil) {
		device = l.settings.Prefix + "0"
	}
	if device == "" {
		pool := k.warmed(l)
		if r, err = pool.Take(want); err != nil && want != must {
			r, err = pool.Take(must)
		}
		// What is kept ready, being made or going may have the last address: who claims one sees to that.
		if !errdefs.IsAlreadyExists(err) && !errdefs.IsResourceExhausted(err) {
			return r, err
		}
		want, device = must, l.settings.Prefix+"0"
	}
	addresses, err := k.claim(l, want, must, req.NoIPv6)
	if err != nil {
		return nil, err
	}
	return k.makeWith(l, addresses, device, req.Own)
}

// unhook takes a namespace off a network: its device goes at once, its addresses a moment later.
func (k *Keeper) unhook(ns *bridge.Namespace, e *endpoint, published bool) error {
	var err error
	switch {
	case e.lan == nil:
		return nil
	case e.lan.parent == nil:
		err = bridge.RemovePort(e.veth)
	case ns != nil:
		err = ns.RemoveDevice(e.addresses.All())
	}
	if err == nil {
		k.graves.add(grave{veth: e.veth, lan: e.lan, addresses: e.addresses, forget: published})
	}
	return err
}
