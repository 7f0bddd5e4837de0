package network

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
	"github.com/cove-containers/cove/network/nft"
	"github.com/cove-containers/cove/network/option"
	"github.com/cove-containers/cove/network/warm"
)

// userWarm is how many namespaces are kept ready on a user's network, from its first container on.
const userWarm = 2

// afterFirst is when the first of them is made: the network's first address is for who has come first.
const afterFirst = 50 * time.Millisecond

// lan is a network as it is on the host: on bridges of its own, or on a parent.
type lan struct {
	name, id string
	device   bridge.Device // the first, which has the address
	spans    *bridge.Spans
	parent   *bridge.Parent // nil for one on bridges
	gateways ipam.Pair
	routers  ipam.Pair // where containers send what is for others: there, mostly
	space    ipam.Space
	settings option.Network
	mtu      int
	closed   bool
	direct   bool // published ports are reached at the containers' own addresses, too
	// static4 and static6 tell that its user chose the subnet, and so may choose addresses.
	static4, static6 bool
	// warm are namespaces ready on it; nil for none. Guarded by the keeper's lock, as are the names.
	warm  *warm.Pool[*ready]
	names names
	// strange are the addresses that neighbours may know by another hardware address than the one made of it. Guarded likewise.
	strange map[netip.Addr]bool
}

// ready is a namespace made ahead; port is the zero value for one without a network, names nil for one whose container
// finds nobody by name.
type ready struct {
	ns    *bridge.Namespace
	lan   *lan
	port  bridge.Port
	names *Sockets
}

// Addresses are those that the namespace has on its network.
func (r *ready) Addresses() ipam.Pair {
	var all []netip.Addr
	for _, p := range r.port.Addresses {
		all = append(all, p.Addr())
	}
	return ipam.PairOf(all...)
}

// close lets go of the namespace.
func (r *ready) close() {
	if r.names != nil {
		r.names.Close()
	}
	r.ns.Close()
}

// openLan makes a network real on the host, or finds it so.
func (k *Keeper) openLan(name string, r record) (*lan, error) {
	set, err := option.Read(r.Driver, k.cfg.Options(name, r.Options))
	if err != nil {
		return nil, err
	}
	l := &lan{
		name: name, id: r.ID, gateways: r.gateways(set), settings: set, mtu: cmp.Or(set.MTU, k.mtu),
		closed: r.Internal, direct: k.cfg.Direct, static4: r.Config.Subnet.IsValid(), static6: r.Config6.Subnet.IsValid(), names: newNames(),
	}
	if l.space.V4, err = subnetOf(r.Bridge, r.Config, l.gateways.V4); err != nil {
		return nil, err
	}
	if l.space.V6, err = subnetOf(r.Bridge6, r.Config6, l.gateways.V6); err != nil {
		return nil, err
	}
	if l.routers = l.gateways; name == nt.NetworkBridge {
		l.routers = l.routers.Or(k.cfg.Gateway)
	}
	tag := k.cfg.TableName()
	if r.Driver != "bridge" {
		p, err := bridge.EnsureParent(bridge.ParentWish{
			Kind: bridge.Kind{Driver: r.Driver, Mode: set.Mode, Flag: set.Flag}, Name: set.Parent, Own: k.cfg.DummyName(r.ID), Tag: tag,
		})
		l.parent, l.mtu = &p, cmp.Or(set.MTU, p.MTU)
		return l, err
	}
	device := k.deviceOf(name, r)
	chosen := set.Bridge != "" || name == nt.NetworkBridge && k.cfg.Bridge != ""
	if l.device, err = bridge.Ensure(bridge.Wish{
		Name: device, Addresses: l.onBridge(r), MTU: l.mtu, Tag: tag, Chosen: chosen, Others: set.Inhibit,
	}); err != nil {
		return nil, err
	}
	l.spans = bridge.NewSpans(l.device, func(n int) (bridge.Device, error) {
		further, err := l.device.Extend(k.cfg.SpanName(r.ID, n), k.cfg.LinkName(r.ID, n), tag, l.mtu, l.isolates())
		if err == nil && k.table != nil {
			err = k.table.AddBridge(spanWall(further))
		}
		return further, err
	})
	return l, nil
}

// on is the device of the host that the network is on.
func (l *lan) on() (kind, device string) {
	if l.parent != nil {
		return "parent", l.parent.Name
	}
	return "bridge", l.device.Name
}

// subnetOf is what a network has to give of one family; nil where it has not the family.
func subnetOf(bridge netip.Prefix, c nt.IPAMConfig, gateway netip.Addr) (*ipam.Subnet, error) {
	if !bridge.IsValid() {
		return nil, nil
	}
	return ipam.NewSubnet(bridge, c.IPRange, append(slices.Collect(maps.Values(c.AuxAddress)), gateway)...)
}

// deviceOf is the name of a network's bridge.
func (k *Keeper) deviceOf(name string, r record) string {
	if name == nt.NetworkBridge {
		return k.cfg.BridgeName()
	}
	return cmp.Or(r.Options[option.Bridge], k.cfg.UserBridge(r.ID))
}

// cool ends what is made ahead on the network.
func (k *Keeper) cool(l *lan) {
	k.mu.Lock()
	pool := l.warm
	k.mu.Unlock()
	if pool != nil {
		pool.Close()
	}
}

// closeLan takes a network off the host for good.
func (k *Keeper) closeLan(l *lan) error {
	k.cool(l)
	return l.removeDevice()
}

func (l *lan) removeDevice() error {
	var errs []error
	if l.parent != nil {
		if l.parent.Made {
			return bridge.Remove(l.parent.Name)
		}
		return nil
	}
	for i, device := range l.spans.Devices() {
		if device.Foreign {
			continue
		}
		errs = append(errs, bridge.Remove(device.Name))
		if i > 0 {
			errs = append(errs, bridge.Remove("cl"+device.Name[2:]))
		}
	}
	return errors.Join(errs...)
}

// walls are what the firewall is told of the network.
func (l *lan) walls() []nft.Bridge {
	if l.parent != nil {
		return nil
	}
	out := []nft.Bridge{{
		Name: l.device.Name, Hosts: l.hosts(), Masquerade: l.settings.Masquerade, Closed: l.closed, Apart: !l.settings.ICC, Trusted: l.settings.Trusted,
		Four: wayOf(l.settings.Gateway4, l.settings.Source4), Six: wayOf(l.settings.Gateway6, l.settings.Source6),
	}}
	for _, further := range l.spans.Devices()[1:] {
		out = append(out, spanWall(further))
	}
	return out
}

func wayOf(mode option.Mode, source netip.Addr) nft.Way {
	return nft.Way{Routed: mode == option.Routed, Open: mode == option.NATUnprotected, Source: source}
}

// hosts are the host's addresses on the network, with its ranges; ranges alone where the host has none.
func (l *lan) hosts() (all []netip.Prefix) {
	for _, of := range []struct {
		gateway netip.Addr
		subnet  *ipam.Subnet
	}{{l.gateways.V4, l.space.V4}, {l.gateways.V6, l.space.V6}} {
		if of.subnet != nil {
			if all = append(all, of.subnet.Prefix()); of.gateway.IsValid() {
				all[len(all)-1] = netip.PrefixFrom(of.gateway, of.subnet.Prefix().Bits())
			}
		}
	}
	return all
}

// spanWall is what the firewall is told of a further bridge. Where the kernel has it look at bridged packets too, what
// passes there goes to the first one, or stays; it is not on its way out.
func spanWall(d bridge.Device) nft.Bridge { return nft.Bridge{Name: d.Name} }

// gate is where containers that are kept apart may send to: the bridge itself. A bridge of somebody else may have another hardware address
// tomorrow; there the kernel keeps them apart.
func (l *lan) gate() net.HardwareAddr {
	if l.settings.ICC || l.device.Foreign {
		return nil
	}
	return l.device.MAC
}

// isolates tells whether the kernel keeps containers apart.
func (l *lan) isolates() bool { return !l.settings.ICC && l.device.Foreign }

// forgetWalls has the firewall forget the network.
func (k *Keeper) forgetWalls(l *lan) error {
	var errs []error
	for _, wall := range l.walls() {
		errs = append(errs, k.table.RemoveBridge(wall.Name))
	}
	return errors.Join(errs...)
}

// expect keeps networks from being removed until done is called: a container is about to be on them.
func (k *Keeper) expect(networks ...string) (done func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, name := range networks {
		k.coming[name]++
	}
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, name := range networks {
			if k.coming[name]--; k.coming[name] == 0 {
				delete(k.coming, name)
			}
		}
	}
}

// lan is the network of this name where it is real on the host, else nil.
func (k *Keeper) lan(name string) *lan {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lans[name]
}

// stray is a device that no container has claimed yet.
type stray struct {
	lan       *lan
	addresses ipam.Pair
}

// findVeths notes the devices that an earlier engine left on the bridge and keeps their addresses from being given away.
func (k *Keeper) findVeths(l *lan) error {
	if l.parent != nil { // they are in their containers alone
		return nil
	}
	found, err := l.spans.Find(func(n int) string { return k.cfg.SpanName(l.id, n) }, k.cfg.VethPrefix())
	if err != nil {
		return err
	}
	for device, alias := range found {
		if p := l.addressesOf(device, alias); p.IsValid() {
			l.space.Keep(p)
			k.found[device] = stray{l, p}
		}
	}
	return nil
}

// vethName is the device of the endpoint with these addresses: who has the address next has the name.
func (k *Keeper) vethName(p ipam.Pair) string {
	if p.V4.IsValid() {
		b := p.V4.As4()
		return k.cfg.VethPrefix() + hex.EncodeToString(b[:])
	}
	b := p.V6.As16()
	sum := sha256.Sum256(b[:])
	return k.cfg.VethPrefix() + hex.EncodeToString(sum[:4])
}

// addressesOf are those of the endpoint with this device on l, which has this alias.
func (l *lan) addressesOf(device, alias string) ipam.Pair {
	var p ipam.Pair
	if b, err := hex.DecodeString(device[max(0, len(device)-8):]); err == nil && len(b) == 4 {
		p.V4 = netip.AddrFrom4([4]byte(b))
	}
	p.V6, _ = netip.ParseAddr(alias)
	if !l.space.V4.Contains(p.V4) {
		p.V4 = netip.Addr{}
	}
	if !l.space.V6.Contains(p.V6) {
		p.V6 = netip.Addr{}
	}
	return p
}

// pool makes namespaces on l ahead.
func (k *Keeper) pool(l *lan, size int, after time.Duration) *warm.Pool[*ready] {
	return warm.New(k.log, size, after, func(want ipam.Pair) (*ready, error) { return k.makeOn(l, want) }, k.drop)
}

// warmed is the pool of l, made when the network is used for the first time.
func (k *Keeper) warmed(l *lan) *warm.Pool[*ready] {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.warm == nil {
		size := min(userWarm, k.cfg.WarmSize())
		if l.parent != nil {
			size = 0 // others on the parent's network would see what nobody uses
		}
		l.warm = k.pool(l, size, afterFirst)
	}
	return l.warm
}

// makeOn makes a namespace with a device on l and its addresses: the ones wanted, or any.
func (k *Keeper) makeOn(l *lan, want ipam.Pair) (*ready, error) {
	addresses, err := l.space.Take(want)
	if err != nil {
		return nil, err
	}
	return k.makeWith(l, addresses, l.settings.Prefix+"0", nil)
}

// makeWith is makeOn with addresses that are taken; when it fails they are given back.
func (k *Keeper) makeWith(l *lan, addresses ipam.Pair, inside string, own *os.File) (*ready, error) {
	ns, err := namespaceOf(own)
	if err != nil {
		l.space.Free(addresses)
		return nil, err
	}
	r := &ready{ns: ns, lan: l, port: k.port(l, addresses, inside)}
	if l.named() {
		r.names, err = listenNames(ns.File)
	}
	if err == nil {
		err = k.plug(l, ns, r.port)
	}
	if err != nil {
		r.close()
		l.space.Free(addresses)
		return nil, err
	}
	return r, nil
}

// plug gives a namespace a device on one of the network's bridges, from which it can send as itself alone.
func (k *Keeper) plug(l *lan, ns *bridge.Namespace, p bridge.Port) error {
	if l.parent != nil {
		if err := l.parent.Attach(ns, p); err != nil {
			return err
		}
		return k.announce(l, ns, p)
	}
	device, err := l.spans.Take(p.Name)
	if err != nil {
		return err
	}
	if err = device.Attach(ns, p); err == nil {
		if err = k.table.Admit(memberOf(p)); err == nil {
			err = k.announce(l, ns, p)
		}
		if err != nil {
			bridge.RemovePort(p.Name)
		}
	}
	if err != nil {
		l.spans.Free(p.Name)
	}
	return err
}

// free gives addresses back, and the room on the bridge, when their device is gone.
func (k *Keeper) free(l *lan, device string, addresses ipam.Pair) {
	k.unplug(l, device)
	l.space.Free(addresses)
}

// unplug ends what plug began, when the device is gone. The addresses stay taken.
func (k *Keeper) unplug(l *lan, device string) {
	if l.parent != nil {
		return
	}
	if err := k.table.Expel(device); err != nil {
		k.log.Warn("forget network device", "device", device, "err", err)
	}
	l.spans.Free(device)
}

// named tells whether containers on the network find one another by name: on users' networks they do.
func (l *lan) named() bool { return l.name != nt.NetworkBridge }

// port is the device of an endpoint on l.
func (k *Keeper) port(l *lan, addresses ipam.Pair, inside string) bridge.Port {
	p := bridge.Port{
		Name: k.vethName(addresses), Inside: inside, MTU: l.mtu, MAC: net.HardwareAddr(ipam.MAC(addresses.First())), Apart: l.isolates(), Gate: l.gate(), Routes: l.settings.Routing,
	}
	if addresses.V4.IsValid() {
		p.Addresses = append(p.Addresses, netip.PrefixFrom(addresses.V4, l.space.V4.Prefix().Bits()))
	}
	if addresses.V6.IsValid() {
		p.Addresses = append(p.Addresses, netip.PrefixFrom(addresses.V6, l.space.V6.Prefix().Bits()))
		p.Alias = addresses.V6.String()
	}
	if !l.closed {
		p.Gateways = l.routers.For(addresses).All()
	}
	if l.parent != nil {
		p.Name, p.Alias = "", ""
		if l.parent.SharesMAC() {
			p.MAC = l.parent.MAC
		}
	}
	return p
}

// wanted are the addresses that an endpoint asks for, or had last; zero values are any. must are those of them that no other
// will do for.
func (l *lan) wanted(containerID string, wish *nt.EndpointSettings) (want, must ipam.Pair, err error) {
	want = l.space.Recall(containerID)
	if wish == nil || wish.IPAMConfig == nil {
		return want, must, nil
	}
	for _, of := range []struct {
		asked      netip.Addr
		subnet     *ipam.Subnet
		static     bool
		want, must *netip.Addr
	}{
		{wish.IPAMConfig.IPv4Address, l.space.V4, l.static4, &want.V4, &must.V4},
		{wish.IPAMConfig.IPv6Address, l.space.V6, l.static6, &want.V6, &must.V6},
	} {
		if !of.asked.IsValid() {
			continue
		}
		*of.want, *of.must = of.asked, of.asked
		switch {
		case l.name == nt.NetworkBridge:
			err = errdefs.ErrInvalidArgument.WithMessage("user specified IP address is supported on user defined networks only")
		case !of.static:
			err = errdefs.ErrInvalidArgument.WithMessage("user specified IP address is supported only when connecting to networks with user configured subnets")
		case !of.subnet.Contains(of.asked):
			err = errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("no configured subnet contains IP address %s", of.asked))
		}
		if err != nil {
			return want, must, err
		}
	}
	return want, must, nil
}

// busy tells in Docker's words who is on the network; k.mu is held.
func (k *Keeper) busy(name string) error {
	var who []string
	for _, m := range k.members {
		if e := m.endpoints[name]; e != nil {
			who = append(who, fmt.Sprintf("name:%q id:%q", m.name, e.id[:12]))
		}
	}
	if len(who) == 0 && k.coming[name] == 0 {
		return nil
	}
	slices.Sort(who)
	return errdefs.ErrPermissionDenied.WithMessage(fmt.Sprintf("error while removing network: network %s has active endpoints (%s)", name, strings.Join(who, ", ")))
}

var errNotReal = errors.New("it could not be set up when the engine started")
