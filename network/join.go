package network

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/option"
	"github.com/cove-containers/cove/network/publish"
)

// Request is what a container asks of its network.
type Request struct {
	// Mode is the container's network mode: "", "default", "bridge", "host", "none", "container:ID" or a network.
	Mode string
	// Name is the container's name, for messages, for the network's list of containers and to be found by.
	Name string
	// Networks are the wished endpoints by network name or ID.
	Networks             map[string]*nt.EndpointSettings
	Hostname, Domainname string
	// Ports are the wished published ports; Exposed with PublishAll are published on free ports of the host.
	Ports      nt.PortMap
	Exposed    nt.PortSet
	PublishAll bool
	// Annotations are the container's, of which one says who may connect to what it publishes.
	Annotations map[string]string
	// Linked are those that the container is linked to on the default network.
	Linked []Linked
	// Resolv is what the container asks of name resolution.
	Resolv ResolvInput
	// NoIPv6 tells that it has turned IPv6 off: it has no address of it where there is one of IPv4 to have.
	NoIPv6 bool
	// NetNS is the namespace of the other container for mode "container:ID", where it is handed back in the sandbox,
	// and the container's own for Connect and Disconnect.
	NetNS *os.File
	// Own is a new namespace for the container, where it is not to have one of the keeper's. It stays the caller's.
	Own *os.File
	// Force has Disconnect take a container off a network whatever of it is in disorder.
	Force bool
}

// network is the name of the network that the mode means; shared tells that it is another container's.
func (r Request) network() (name string, shared bool) {
	switch {
	case r.Mode == "" || r.Mode == nt.NetworkDefault:
		return nt.NetworkBridge, false
	case strings.HasPrefix(r.Mode, "container:"):
		return "", true
	}
	return r.Mode, false
}

// Sandbox is a container's network, ready for its first process.
type Sandbox struct {
	ID string
	// NetNS is the namespace to join, nil for the host's own. The caller closes it once the process is in it.
	NetNS *os.File
	// Endpoints are the container's endpoints by network name, filled in.
	Endpoints map[string]*nt.EndpointSettings
	// Ports as inspect shows them: published ones with the host ports chosen, exposed ones without bindings.
	Ports nt.PortMap
	// Names is what the container's questions for names arrive at, nil where it finds nobody by name. The questions are
	// answered; the caller has somebody keep the sockets open and closes them.
	Names *Sockets
	// Named tells that it finds others by name.
	Named bool
}

// Close closes the files.
func (s *Sandbox) Close() {
	if s.NetNS != nil {
		s.NetNS.Close()
	}
	if s.Names != nil {
		s.Names.Close()
	}
}

// Validate checks what can be checked of a request before the container is made.
func (k *Keeper) Validate(req Request) error {
	if _, shared := req.network(); shared {
		return nil
	}
	for network, e := range req.Networks {
		if err := option.CheckEndpoint(network, predefined(network), e); err != nil {
			return err
		}
	}
	if _, err := publish.ReadSources(req.Annotations); err != nil {
		return err
	}
	_, err := publish.Wishes(req.published(), k.defaultHostIP(), false)
	return err
}

func predefined(network string) bool {
	return slices.Contains([]string{nt.NetworkBridge, nt.NetworkHost, nt.NetworkNone, nt.NetworkDefault}, network)
}

func (k *Keeper) defaultHostIP() netip.Addr {
	if k.cfg.HostIP.IsValid() {
		return k.cfg.HostIP
	}
	return netip.IPv4Unspecified()
}

// Join gives the container its network. An unknown network is errdefs.ErrNotFound; a port that is taken is
// errdefs.ErrInternal with Docker's message.
func (k *Keeper) Join(ctx context.Context, containerID string, req Request) (*Sandbox, error) {
	box, err := k.join(containerID, req)
	if err != nil {
		return nil, fmt.Errorf("failed to set up container networking: %w", err)
	}
	return box, nil
}

func (k *Keeper) join(containerID string, req Request) (*Sandbox, error) {
	if _, shared := req.network(); shared {
		return &Sandbox{NetNS: req.NetNS, Ports: nt.PortMap{}}, nil
	}
	wanted, err := k.wishedEndpoints(req)
	if err != nil {
		return nil, err
	}
	for _, w := range wanted {
		defer k.expect(w.network)()
	}
	m := &member{id: containerID, name: req.Name, sandbox: newID(), hostname: req.Hostname, linked: req.Linked, endpoints: map[string]*endpoint{}}
	box := &Sandbox{ID: m.sandbox, Ports: nt.PortMap{}}
	first := nt.NetworkNone
	if len(wanted) > 0 {
		first = wanted[0].network
		m.endpoints[first] = &endpoint{network: first, id: newID()}
	}
	switch first {
	case nt.NetworkHost:
	case nt.NetworkNone: // or it was taken off all its networks
		ns, err := k.bareNamespace(req.Own)
		if err != nil {
			return nil, err
		}
		ns.Seal()
		box.NetNS = ns.File
	default:
		if err := k.joinLans(box, m, wanted, req); err != nil {
			return nil, err
		}
	}
	box.Endpoints = k.shownEndpoints(m, wanted)
	if old := k.enter(m); old != nil {
		k.bury(old)
	}
	m.resolver.start()
	box.Named = m.resolver != nil
	return box, nil
}

// forward has the host pass packets on for networks.
func (k *Keeper) forward() error {
	if k.cfg.NoForward {
		return nil
	}
	if err := bridge.ForwardIPv4(); err != nil {
		return err
	}
	if !k.hasIPv6() {
		return nil
	}
	raised, err := bridge.ForwardIPv6(k.cfg.VethPrefix())
	if len(raised) > 0 {
		k.log.Info("devices of the host go on listening to IPv6 routers while it forwards: accept_ra is 2", "devices", raised)
	}
	return err
}

// hasIPv6 tells whether there is a network with IPv6.
func (k *Keeper) hasIPv6() bool {
	return slices.ContainsFunc(k.all(), func(l *lan) bool { return l.space.V6 != nil })
}

// wished is an endpoint that is to be.
type wished struct {
	network string
	*nt.EndpointSettings
}

// wishedEndpoints are what a request wants by the networks' names: that of the mode first, the others in order. Where it
// wants none at all, not even that of the mode, it was taken off.
func (k *Keeper) wishedEndpoints(req Request) ([]wished, error) {
	mode, _ := req.network()
	byName := map[string]*nt.EndpointSettings{}
	if req.Networks == nil {
		name, err := k.find(mode)
		if err != nil {
			return nil, err
		}
		byName[name] = nil
	}
	for ref, e := range req.Networks {
		name, err := k.find(ref)
		if err != nil {
			return nil, err
		}
		byName[name] = e
	}
	var all []wished
	first := k.Called(mode)
	if e, has := byName[first]; has {
		all = append(all, wished{first, e})
		delete(byName, first)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		all = append(all, wished{name, byName[name]})
	}
	for _, w := range all {
		if len(all) > 1 && (w.network == nt.NetworkHost || w.network == nt.NetworkNone) {
			return nil, errdefs.ErrInvalidArgument.WithMessage("container cannot be connected to multiple networks with one of the networks in " + w.network + " mode")
		}
	}
	return all, nil
}

// joinLans makes the namespace of a container that is on networks of the bridge driver.
func (k *Keeper) joinLans(box *Sandbox, m *member, wanted []wished, req Request) (err error) {
	if err := k.forward(); err != nil {
		return err
	}
	r, err := k.joinFirst(m, wanted[0], req)
	if err != nil {
		return fmt.Errorf("join network %s: %w", wanted[0].network, err)
	}
	defer func() {
		if err != nil {
			k.drop(r)
			delete(m.endpoints, wanted[0].network)
			k.bury(m)
		}
	}()
	for _, w := range wanted[1:] {
		if err := k.attach(r.ns, m, w, req.NoIPv6); err != nil {
			return fmt.Errorf("join network %s: %w", w.network, err)
		}
	}
	if len(wanted) > 1 {
		if err := r.ns.SetGateways(r.port.Gateways, k.gateways(m)); err != nil {
			return err
		}
	}
	if r.names == nil && k.anyNamed(m) {
		if r.names, err = listenNames(r.ns.File); err != nil {
			return err
		}
	}
	if r.names != nil {
		if m.resolver, err = k.openNames(m.id, r.names, r.ns.File, req.Resolv); err != nil {
			return err
		}
	}
	if err := k.publish(m, req); err != nil {
		return err
	}
	r.ns.Seal()
	box.NetNS, box.Names, box.Ports = r.ns.File, r.names, publish.Shown(req.Exposed, m.published)
	return nil
}

// anyNamed tells whether the container finds others by name.
func (k *Keeper) anyNamed(m *member) bool {
	for network := range m.endpoints {
		if l := k.lan(network); l != nil && l.named() {
			return true
		}
	}
	return false
}

// real is the network of this name, or why there is none.
func (k *Keeper) real(name string) (*lan, error) {
	k.mu.Lock()
	l := k.lans[name]
	r, known := k.records[name]
	k.mu.Unlock()
	switch {
	case l != nil:
		return l, nil
	case r.Shape != nil:
		return nil, errConfiguration
	case name == nt.NetworkBridge || !known:
		return nil, errdefs.ErrNotFound.WithMessage("network " + name + " not found")
	}
	return nil, errdefs.ErrUnavailable.WithMessage("network " + name + ": " + errNotReal.Error())
}

// joinFirst takes a namespace that is on the network already.
func (k *Keeper) joinFirst(m *member, w wished, req Request) (*ready, error) {
	l, err := k.real(w.network)
	if err != nil {
		return nil, err
	}
	want, must, err := l.wanted(m.id, w.EndpointSettings)
	if err != nil {
		return nil, err
	}
	if want.IsValid() {
		k.graves.hasten(l, want)
	}
	r, err := k.takeReady(l, want, must, wishedOptions(w.EndpointSettings).Device, req)
	if err != nil {
		return nil, err
	}
	if err := k.fit(r, w.EndpointSettings); err != nil {
		k.drop(r)
		return nil, err
	}
	e := endpointOf(l, m, w.EndpointSettings, r.port)
	m.endpoints[w.network] = e
	return r, nil
}

// attach puts a namespace that is in use on one more network. The default route stays as it is.
func (k *Keeper) attach(ns *bridge.Namespace, m *member, w wished, noIPv6 bool) error {
	l, err := k.real(w.network)
	if err != nil {
		return err
	}
	want, must, err := l.wanted(m.id, w.EndpointSettings)
	if err != nil {
		return err
	}
	if want.IsValid() {
		k.graves.hasten(l, want)
	}
	addresses, err := k.claim(l, want, must, noIPv6)
	if err != nil {
		return err
	}
	opts := wishedOptions(w.EndpointSettings)
	inside := opts.Device
	if inside == "" {
		inside, err = ns.FreeName(l.settings.Prefix)
	}
	if err == nil {
		p := k.port(l, addresses, inside)
		p.Gateways = nil
		if wish := wishedMAC(w.EndpointSettings); wish != nil {
			p.MAC = net.HardwareAddr(wish)
		}
		p.LinkLocal, p.Routes = wishedLinkLocal(w.EndpointSettings), p.Routes || opts.Routing
		if err = k.plug(l, ns, p); err == nil {
			m.endpoints[w.network] = endpointOf(l, m, w.EndpointSettings, p)
			if err = ns.Set(inside, opts.Sysctls); err == nil {
				return nil
			}
			k.unhook(ns, m.endpoints[w.network], false)
			delete(m.endpoints, w.network)
			return err
		}
	}
	l.space.Free(addresses)
	return err
}

// wishedOptions are what an endpoint's options say. That they can be read was seen before.
func wishedOptions(e *nt.EndpointSettings) option.Endpoint {
	if e == nil {
		return option.Endpoint{}
	}
	opts, _ := option.ReadEndpoint(e.DriverOpts)
	return opts
}

func wishedLinkLocal(e *nt.EndpointSettings) []netip.Addr {
	if e == nil || e.IPAMConfig == nil {
		return nil
	}
	return e.IPAMConfig.LinkLocalIPs
}

func wishedMAC(e *nt.EndpointSettings) nt.HardwareAddr {
	if e == nil || len(e.MacAddress) == 0 {
		return nil
	}
	return e.MacAddress
}

// Leave takes the container off its networks: its ports are free when it returns, the rest goes in the background. Its
// addresses stay its own while there are others, see Forget. A container that is on none is no error.
func (k *Keeper) Leave(containerID string) error {
	k.mu.Lock()
	m := k.exit(containerID)
	k.mu.Unlock()
	if m == nil {
		return nil
	}
	k.relink()
	return k.bury(m)
}

// Forget lets others have the addresses that a container had: it is removed.
func (k *Keeper) Forget(containerID string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.lans {
		l.space.Forget(containerID)
	}
}

// bury ends all endpoints of a container.
func (k *Keeper) bury(m *member) error {
	defer m.resolver.close()
	err := k.withdraw(m)
	for _, e := range m.endpoints {
		if e.lan == nil {
			continue
		}
		g := grave{veth: e.veth, lan: e.lan, addresses: e.addresses, forget: m.carries(e.network) && len(m.published) > 0}
		if e.lan.parent != nil && m.resolver != nil {
			g.ns, _ = bridge.Duplicate(m.resolver.ns) // without it the device goes with the namespace
		}
		k.graves.add(g)
	}
	return err
}

// Rename tells the new name of a container.
func (k *Keeper) Rename(containerID, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.exit(containerID)
	if m == nil {
		return
	}
	renamed := *m
	renamed.name, renamed.endpoints = name, map[string]*endpoint{}
	for network, e := range m.endpoints {
		changed := *e
		if e.lan != nil && e.lan.named() {
			changed.names = renamed.dnsNames(e.aliases)
		}
		renamed.endpoints[network] = &changed
	}
	k.enterHeld(&renamed)
}
