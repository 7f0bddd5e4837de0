package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
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
	l := k.lan(m.carrier)
	if l == nil {
		return nil
	}
	wanted, from, err := k.wishes(l, req)
	if err != nil || len(wanted) == 0 {
		return err
	}
	e := m.endpoints[m.carrier]
	done, err := k.takePorts(wanted, e.addresses.V4)
	if err == nil {
		err = errors.Join(l.device.RouteLocalNet(), bridge.Hairpin(e.veth))
		if err == nil {
			err = k.table.Publish(publish.Published(done, from))
		}
		if err != nil {
			k.ports.GiveBack(done)
		}
	}
	if err != nil {
		return unpublished(m, e, err)
	}
	m.published, m.sources = done, from
	return nil
}

// wishes are the ports that a request wants published by way of l, and who may connect to them.
func (k *Keeper) wishes(l *lan, req Request) ([]publish.Wish, publish.Sources, error) {
	hostIP := k.defaultHostIP()
	if l.settings.hostIP.IsValid() {
		hostIP = l.settings.hostIP
	}
	wanted, err := publish.Wishes(req.published(), hostIP)
	if err != nil {
		return nil, publish.Sources{}, err
	}
	from, err := publish.ReadSources(req.Annotations)
	return wanted, from, err
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

// takePorts takes ports for all that is wanted, or none, that lead to address.
func (k *Keeper) takePorts(wanted []publish.Wish, address netip.Addr) ([]publish.Binding, error) {
	at, refused, err := k.ports.Take(wanted)
	if err != nil {
		if who := k.publisher(refused); who != "" {
			err = fmt.Errorf("%w: container %s has it", err, who)
		}
		return nil, err
	}
	var done []publish.Binding
	for i, w := range wanted {
		done = append(done, publish.Binding{Inside: w.Inside, Host: at[i], Target: netip.AddrPortFrom(address, w.Inside.Num())})
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
	l := k.lan(m.carrier)
	if len(m.published) == 0 || l == nil {
		return nil
	}
	if err := l.device.RouteLocalNet(); err != nil {
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
	l := k.lan(m.carrier)
	if l == nil {
		return publish.Shown(req.Exposed, nil), nil
	}
	wanted, from, err := k.wishes(l, req)
	if err != nil {
		return nil, err
	}
	e := m.endpoints[m.carrier]
	now := m.clone()
	stays, missing, gone := publish.Compare(m.published, wanted)
	come, err := k.takePorts(missing, e.addresses.V4)
	if err == nil {
		now.published, now.sources = publish.Merge(stays, come), from
		err = errors.Join(l.device.RouteLocalNet(), bridge.Hairpin(e.veth))
		if err == nil {
			err = k.table.Replace(publish.Published(m.published, m.sources), publish.Published(now.published, from))
		}
		if err != nil {
			k.ports.GiveBack(come)
		}
	}
	if err != nil {
		return nil, unpublished(m, e, err)
	}
	k.ports.GiveBack(gone)
	k.enter(now)
	if len(gone) > 0 {
		if err := bridge.ForgetPorts(e.addresses.V4, publish.On(gone)); err != nil {
			k.log.Warn("forget connections", "address", e.addresses.V4, "err", err)
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
