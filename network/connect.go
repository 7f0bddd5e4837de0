package network

import (
	"context"
	"fmt"
	"maps"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/option"
	"github.com/cove-containers/cove/network/publish"
)

// Connect puts a running container, whose namespace is req.NetNS, on one more network. req is what the container asks of
// its networks, this one included. One it is on already is errdefs.ErrPermissionDenied, as in Docker.
func (k *Keeper) Connect(ctx context.Context, containerID, ref string, req Request) (*Sandbox, error) {
	name, m, err := k.running(containerID, ref)
	if err != nil {
		return nil, err
	}
	defer k.expect(name)()
	if m.endpoints[name] != nil {
		return nil, errdefs.ErrPermissionDenied.WithMessage(fmt.Sprintf("endpoint with name %s already exists in network %s", m.name, name))
	}
	for has := range m.endpoints {
		if has == nt.NetworkHost || name == nt.NetworkHost {
			return nil, errdefs.ErrPermissionDenied.WithMessage("cannot connect container to host network - container must be created in host network mode")
		}
		if has == nt.NetworkNone || name == nt.NetworkNone {
			return nil, errdefs.ErrPermissionDenied.WithMessage("container cannot be connected to multiple networks with one of the networks in private (none) mode")
		}
	}
	wish := req.Networks[name]
	if err := option.CheckEndpoint(name, predefined(name), wish); err != nil {
		return nil, err
	}
	ns, err := bridge.EnterNamespace(req.NetNS)
	if err != nil {
		return nil, err
	}
	defer ns.Seal()
	now := m.clone()
	err = k.forward()
	if err == nil {
		err = k.attach(ns, now, wished{name, wish}, req.NoIPv6)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to set up container networking: %w", err)
	}
	names, err := k.beginNames(now, req)
	if err == nil {
		err = k.resettle(ns, m, now, req)
	}
	if err != nil {
		if now.resolver != m.resolver {
			now.resolver.close()
			names.Close()
		}
		if undone := k.unhook(ns, now.endpoints[name], false); undone != nil {
			k.log.Warn("remove network device", "container", containerID, "network", name, "err", undone)
		}
		return nil, err
	}
	if now.resolver != m.resolver {
		now.resolver.start()
	}
	box := k.changed(now, req)
	box.Names = names
	return box, nil
}

// beginNames gives a container that comes to its first user's network a name server; nil where it has one.
func (k *Keeper) beginNames(m *member, req Request) (*Sockets, error) {
	if m.resolver != nil || !k.anyNamed(m) {
		return nil, nil
	}
	names, err := listenNames(req.NetNS)
	if err != nil {
		return nil, err
	}
	if m.resolver, err = k.openNames(m.id, names, req.NetNS, req.Resolv); err != nil {
		names.Close()
		return nil, err
	}
	return names, nil
}

// Disconnect takes a running container off one of its networks: what it published by it is published by another that
// leads out, or not at all. One it is not on is errdefs.ErrPermissionDenied, as in Docker.
func (k *Keeper) Disconnect(ctx context.Context, containerID, ref string, req Request) (*Sandbox, error) {
	name, m, err := k.running(containerID, ref)
	if err != nil {
		return nil, err
	}
	e := m.endpoints[name]
	switch {
	case e == nil:
		return nil, errdefs.ErrPermissionDenied.WithMessage(fmt.Sprintf("container %s is not connected to network %s", containerID, name))
	case name == nt.NetworkHost:
		return nil, errdefs.ErrPermissionDenied.WithMessage("container cannot be disconnected from host network or connected to host network")
	}
	now := m.clone()
	delete(now.endpoints, name)
	if e.lan == nil {
		k.enter(now)
		return k.changed(now, req), nil
	}
	published := len(m.published) > 0 && m.carries(name)
	ns, err := bridge.EnterNamespace(req.NetNS)
	if err == nil {
		defer ns.Seal()
		err = k.unhook(ns, e, published)
	}
	if err != nil && !req.Force {
		return nil, err
	}
	if err == nil {
		err = k.resettle(ns, m, now, req)
	} else {
		k.graves.add(grave{veth: e.veth, lan: e.lan, addresses: e.addresses, forget: published})
	}
	if err != nil {
		// The device is gone, or is not to count, so the container is off the network whatever else went wrong.
		k.log.Error("settle a container after it left a network", "container", containerID, "network", name, "error", err)
		k.enter(now)
	}
	return k.changed(now, req), nil
}

// running finds the network and the container.
func (k *Keeper) running(containerID, ref string) (string, *member, error) {
	name, err := k.find(ref)
	if err != nil {
		return "", nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.members[containerID]
	if m == nil {
		return "", nil, errdefs.ErrFailedPrecondition.WithMessage("container " + containerID + " has no network of its own")
	}
	return name, m, nil
}

// resettle moves default route and published ports to where they belong now, and makes now known in the place of before.
func (k *Keeper) resettle(ns *bridge.Namespace, before, now *member, req Request) error {
	if err := ns.SetGateways(k.gateways(before), k.gateways(now)); err != nil {
		return err
	}
	if k.settle(now); now.carrier != before.carrier || now.carrier6 != before.carrier6 {
		if err := k.withdraw(before); err != nil {
			return err
		}
		if err := k.publish(now, req); err != nil {
			// As it was, so that nothing is lost by the attempt; where that is gone there is nothing to keep.
			if before.carriedIn(now) {
				k.republish(before)
				ns.SetGateways(k.gateways(now), k.gateways(before))
			}
			return err
		}
	}
	k.enter(now)
	return nil
}

func (m *member) clone() *member {
	c := *m
	c.endpoints = maps.Clone(m.endpoints)
	return &c
}

// changed is what a container's network is like after a change.
func (k *Keeper) changed(m *member, req Request) *Sandbox {
	box := &Sandbox{ID: m.sandbox, Named: m.resolver != nil, Endpoints: map[string]*nt.EndpointSettings{}, Ports: nt.PortMap{}}
	for network, e := range m.endpoints {
		box.Endpoints[network] = k.shownEndpoint(e, req.Networks[network])
	}
	if m.carrier != "" || m.carrier6 != "" {
		box.Ports = publish.Shown(req.Exposed, m.published)
	}
	return box
}
