package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/nft"
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
	hostIP := k.defaultHostIP()
	if l.settings.hostIP.IsValid() {
		hostIP = l.settings.hostIP
	}
	wanted, err := publish.Wishes(req.published(), hostIP)
	if err != nil || len(wanted) == 0 {
		return err
	}
	e := m.endpoints[m.carrier]
	var done []publish.Binding
	err = errors.Join(l.device.RouteLocalNet(), bridge.Hairpin(e.veth))
	for _, w := range wanted {
		if err != nil {
			break
		}
		var at netip.AddrPort
		if at, err = k.ports.Take(w); err == nil {
			done = append(done, publish.Binding{Inside: w.Inside, Host: at, Target: netip.AddrPortFrom(e.addresses.V4, w.Inside.Num())})
		} else if who := k.publisher(w); who != "" {
			err = fmt.Errorf("%w: container %s has it", err, who)
		}
	}
	if err == nil {
		err = k.table.Publish(publish.Publications(done))
	}
	if err != nil {
		k.ports.GiveBack(done)
		return errdefs.ErrInternal.WithMessage(
			fmt.Sprintf("driver failed programming external connectivity on endpoint %s (%s): %v", m.name, e.id, err))
	}
	m.published = done
	return nil
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
	for _, b := range m.published {
		if _, err := k.ports.Take(b.Wish()); err != nil {
			k.log.Warn("a published port cannot be held", "container", m.id, "err", err)
		}
	}
	have := map[nft.Publication]bool{}
	for _, p := range k.table.Published() {
		have[p] = true
	}
	var missing []nft.Publication
	for _, p := range publish.Publications(m.published) {
		if !have[p] {
			missing = append(missing, p)
		}
	}
	return k.table.Publish(missing)
}

func (k *Keeper) withdraw(m *member) error {
	if len(m.published) == 0 {
		return nil
	}
	err := k.table.Withdraw(publish.Publications(m.published))
	k.ports.GiveBack(m.published)
	return err
}

// withdrawAllBut ends the publication of ports that lead to none of targets.
func (k *Keeper) withdrawAllBut(targets map[netip.AddrPort]bool) error {
	var stale []nft.Publication
	for _, p := range k.table.Published() {
		if !targets[p.Target] {
			stale = append(stale, p)
		}
	}
	return k.table.Withdraw(stale)
}
