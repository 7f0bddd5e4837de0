package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/option"
	"github.com/cove-containers/cove/network/publish"
)

// published is what the request wants of the host's ports.
func (r Request) published() publish.Asked {
	return publish.Asked{Ports: r.Ports, Exposed: r.Exposed, All: r.PublishAll}
}

// publish takes the ports that the request wants and lets them reach m by the endpoint with its default route; all or
// none. On networks that lead nowhere nothing is published.
func (k *Keeper) publish(m *member, req Request) error {
	k.settle(m)
	m.published = nil
	way := k.way(m)
	if way.first == nil {
		return nil
	}
	wanted, from, err := k.wishes(way, req)
	if err != nil || len(wanted) == 0 {
		return err
	}
	done, err := k.takePorts(wanted, way.to)
	if err == nil {
		err = way.open()
		if err == nil {
			err = k.table.Publish(publish.Published(done, from))
		}
		if err != nil {
			k.ports.GiveBack(done)
		}
	}
	if err != nil {
		return unpublished(m, way.first, err)
	}
	m.published, m.sources = done, from
	k.graves.serve(done)
	return nil
}

// way is how a container is reached by published ports.
type way struct {
	first     *endpoint // nil where it is not
	endpoints []*endpoint
	to        publish.Way // its addresses there
}

func (k *Keeper) way(m *member) (w way) {
	if l := k.lan(m.carrier); l != nil && l.parent == nil { // on a parent it is reached by its own address
		w.first = m.endpoints[m.carrier]
		w.to, w.endpoints = publish.OfFour(l.side(w.first.addresses.V4)), []*endpoint{w.first}
	}
	l := k.lan(m.carrier6)
	if l == nil || l.parent != nil {
		return w
	}
	e := m.endpoints[m.carrier6]
	w.to.Six = l.side(e.addresses.V6)
	if e != w.first {
		w.endpoints = append(w.endpoints, e)
	}
	if w.first == nil {
		w.first = e
	}
	return w
}

// side is how a container is reached by its address on the network.
func (l *lan) side(to netip.Addr) publish.Side {
	mode := l.settings.Gateway4
	if to.Is6() {
		mode = l.settings.Gateway6
	}
	return publish.Side{To: to, Routed: mode == option.Routed, Direct: l.direct || mode == option.NATUnprotected || len(l.settings.Trusted) > 0}
}

// open lets packets take the way.
func (w way) open() error {
	var errs []error
	for _, e := range w.endpoints {
		errs = append(errs, bridge.Hairpin(e.veth))
	}
	return errors.Join(append(errs, w.routeLocal())...)
}

// routeLocal lets the host take the way by its loopback.
func (w way) routeLocal() error {
	if !w.to.Four.To.IsValid() {
		return nil
	}
	return w.first.lan.device.RouteLocalNet()
}

// wishes are the ports that a request wants published, and who may connect to them. Those that name no address of the host are
// on every one by which there is a way, unless the network or the engine has another one for them.
func (k *Keeper) wishes(w way, req Request) ([]publish.Wish, publish.Sources, error) {
	hostIP, both := netip.IPv4Unspecified(), false
	if !w.first.lan.named() {
		hostIP = k.defaultHostIP() // which is for the default network alone
	}
	if named := w.first.lan.settings.HostIP; named.IsValid() {
		hostIP = named
	}
	if hostIP == netip.IPv4Unspecified() {
		four, six := w.to.Four.To.IsValid(), w.to.Six.To.IsValid()
		if both = four && six; !four {
			hostIP = netip.IPv6Unspecified()
		}
	}
	wanted, err := publish.Wishes(req.published(), hostIP, both)
	if err != nil {
		return nil, publish.Sources{}, err
	}
	from, err := publish.ReadSources(req.Annotations)
	fitting := w.to.Fit(wanted)
	if i := slices.IndexFunc(wanted, func(one publish.Wish) bool { return one.From > 0 && w.to.Ignores(one) }); i >= 0 {
		k.log.Info("a port of the host is not taken: the network is routed", "container", req.Name, "port", wanted[i].From)
	}
	return fitting, from, err
}

// Allow lets connect to published ports, from outside, only who comes from one of the ranges; none of them lets everybody.
// Connections that there are go on.
func (k *Keeper) Allow(from []netip.Prefix) error { return k.table.Allow(from) }

// ParseRanges reads ranges of addresses that are separated by commas; the empty text has none. Errors are
// errdefs.ErrInvalidArgument.
func ParseRanges(text string) ([]netip.Prefix, error) {
	if text == "" {
		return nil, nil
	}
	return publish.Ranges(text)
}

// takePorts takes ports for all that is wanted, or none, that lead to the addresses.
func (k *Keeper) takePorts(wanted []publish.Wish, to publish.Way) ([]publish.Binding, error) {
	for _, w := range wanted {
		if _, err := publish.Bind(w, 0, to); err != nil {
			return nil, err
		}
	}
	at, refused, err := k.ports.Take(wanted)
	if err != nil {
		if who := k.publisher(refused); who != "" {
			err = fmt.Errorf("%w: container %s has it", err, who)
		}
		return nil, err
	}
	var done []publish.Binding
	for i, w := range wanted {
		b, err := publish.Bind(w, at[i], to)
		if err != nil {
			return nil, err
		}
		done = append(done, b)
	}
	return done, nil
}

// unpublished says in Docker's words that a container's ports cannot be published.
func unpublished(m *member, e *endpoint, err error) error {
	return errdefs.ErrInternal.WithMessage(
		fmt.Sprintf("driver failed programming external connectivity on endpoint %s (%s): %v", m.name, e.id, err))
}

// publisher is the name of a container that has what w asks for, "" for none.
func (k *Keeper) publisher(w publish.Wish) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range k.members {
		for _, b := range m.published {
			if b.Meets(w) {
				return m.name
			}
		}
	}
	return ""
}

// republish takes up the ports of a container that kept running. The table has them, unless it was lost.
func (k *Keeper) republish(m *member) error {
	way := k.way(m)
	if len(m.published) == 0 || way.first == nil {
		return nil
	}
	if err := way.routeLocal(); err != nil {
		return err
	}
	if err := k.ports.Resume(m.published); err != nil {
		k.log.Warn("a published port cannot be held", "container", m.id, "err", err)
	}
	return k.table.Publish(publish.Published(m.published, m.sources))
}

// Republish publishes for a running container what it asks for by now, and ends what it does not, at once and all or none:
// a port that stays is on the same port of the host as before, and its connections go on. It tells the ports as inspect
// shows them.
func (k *Keeper) Republish(containerID string, req Request) (nt.PortMap, error) {
	k.mu.Lock()
	m := k.members[containerID]
	k.mu.Unlock()
	if m == nil {
		return nil, errdefs.ErrFailedPrecondition.WithMessage("container " + containerID + " has no network of its own")
	}
	way := k.way(m)
	if way.first == nil {
		return publish.Shown(req.Exposed, nil), nil
	}
	wanted, from, err := k.wishes(way, req)
	if err != nil {
		return nil, err
	}
	now := m.clone()
	stays, missing, gone := publish.Compare(m.published, wanted, way.to)
	come, err := k.takePorts(missing, way.to)
	if err == nil {
		now.published, now.sources = publish.Merge(stays, come), from
		err = way.open()
		if err == nil {
			err = k.table.Replace(publish.Published(m.published, m.sources), publish.Published(now.published, from))
		}
		if err != nil {
			k.ports.GiveBack(come)
		}
	}
	if err != nil {
		return nil, unpublished(m, way.first, err)
	}
	k.ports.GiveBack(gone)
	k.graves.serve(come)
	k.enter(now)
	if len(gone) > 0 {
		for _, address := range way.to.All() {
			if err := bridge.ForgetPorts(address, publish.On(gone, address)); err != nil {
				k.log.Warn("forget connections", "address", address, "err", err)
			}
		}
	}
	return publish.Shown(req.Exposed, now.published), nil
}

func (k *Keeper) withdraw(m *member) error {
	if len(m.published) == 0 {
		return nil
	}
	err := k.table.Withdraw(publish.Published(m.published, m.sources))
	k.ports.GiveBack(m.published)
	return err
}
