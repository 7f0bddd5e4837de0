package network

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
	"github.com/cove-containers/cove/network/nft"
	"github.com/cove-containers/cove/network/warm"
)

// userWarm is how many namespaces are kept ready on a user's network, from its first container on.
const userWarm = 2

// lan is a network of the bridge driver as it is on the host.
type lan struct {
	name, id string
	device   bridge.Device // the first, which has the address
	spans    *bridge.Spans
	gateway  netip.Addr
	subnet   *ipam.Subnet
	settings settings
	mtu      int
	closed   bool
	// static tells that its user chose the subnet, and so may choose addresses.
	static bool
	// warm are namespaces ready on it; nil for none. Guarded by the keeper's lock, as are the names.
	warm  *warm.Pool[*ready]
	names names
}

// ready is a namespace made ahead; port is the zero value for one without a network, names nil for one whose container
// finds nobody by name.
type ready struct {
	ns    *bridge.Namespace
	lan   *lan
	port  bridge.Port
	names *Sockets
}

// Address is the one that the namespace has on its network.
func (r *ready) Address() netip.Addr { return r.port.Address.Addr() }

// close lets go of the namespace.
func (r *ready) close() {
	if r.names != nil {
		r.names.Close()
	}
	r.ns.Close()
}

// openLan makes a network real on the host, or finds it so.
func (k *Keeper) openLan(name string, r record) (*lan, error) {
	set, err := r.settings()
	if err != nil {
		return nil, err
	}
	l := &lan{
		name: name, id: r.ID, gateway: r.Bridge.Addr(), settings: set, mtu: cmp.Or(set.mtu, k.mtu),
		closed: r.Internal, static: r.Config.Subnet.IsValid(), names: newNames(),
	}
	reserved := append(slices.Collect(maps.Values(r.Config.AuxAddress)), l.gateway)
	if l.subnet, err = ipam.NewSubnet(r.Bridge, r.Config.IPRange, reserved...); err != nil {
		return nil, err
	}
	tag, device := k.cfg.tableName(), k.deviceOf(name, r)
	chosen := set.bridge != "" || name == nt.NetworkBridge && k.cfg.Bridge != ""
	if l.device, err = bridge.Ensure(bridge.Wish{Name: device, Address: r.Bridge, MTU: l.mtu, Tag: tag, Chosen: chosen}); err != nil {
		return nil, err
	}
	l.spans = bridge.NewSpans(l.device, func(n int) (bridge.Device, error) {
		further, err := l.device.Extend(k.cfg.spanName(r.ID, n), k.cfg.linkName(r.ID, n), tag, l.mtu, !set.icc)
		if err == nil && k.table != nil {
			err = k.table.AddBridge(spanWall(further))
		}
		return further, err
	})
	return l, nil
}

// deviceOf is the name of a network's bridge.
func (k *Keeper) deviceOf(name string, r record) string {
	if name == nt.NetworkBridge {
		return k.cfg.bridgeName()
	}
	return cmp.Or(r.Options[optName], k.cfg.userBridge(r.ID))
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
	out := []nft.Bridge{{
		Name: l.device.Name, Subnet: l.subnet.Prefix(), Masquerade: l.settings.masquerade, Closed: l.closed, Apart: !l.settings.icc,
	}}
	for _, further := range l.spans.Devices()[1:] {
		out = append(out, spanWall(further))
	}
	return out
}

// spanWall is what the firewall is told of a further bridge. Where the kernel has it look at bridged packets too, what
// passes there goes to the first one, or stays; it is not on its way out.
func spanWall(d bridge.Device) nft.Bridge { return nft.Bridge{Name: d.Name} }

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

// findVeths notes the devices that an earlier engine left on the bridge and keeps their addresses from being given away.
func (k *Keeper) findVeths(l *lan) error {
	found, err := l.spans.Find(func(n int) string { return k.cfg.spanName(l.id, n) }, addressOfVeth, k.cfg.vethPrefix())
	if err != nil {
		return err
	}
	for device, address := range found {
		if l.subnet.Take(address) == nil {
			k.found[device] = l
		}
	}
	return nil
}

func (k *Keeper) vethName(a netip.Addr) string {
	b := a.As4()
	return k.cfg.vethPrefix() + hex.EncodeToString(b[:])
}

func addressOfVeth(name string) (netip.Addr, bool) {
	b, err := hex.DecodeString(name[max(0, len(name)-8):])
	if err != nil || len(b) != 4 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b)), true
}

// pool makes namespaces on l ahead.
func (k *Keeper) pool(l *lan, size int) *warm.Pool[*ready] {
	return warm.New(k.log, size, func(want netip.Addr) (*ready, error) { return k.makeOn(l, want) }, k.drop)
}

// warmed is the pool of l, made when the network is used for the first time.
func (k *Keeper) warmed(l *lan) *warm.Pool[*ready] {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.warm == nil {
		l.warm = k.pool(l, min(userWarm, k.warmSize()))
	}
	return l.warm
}

// makeOn makes a namespace with an address and a device on l. The address is the one wanted, or any.
func (k *Keeper) makeOn(l *lan, want netip.Addr) (*ready, error) {
	address, err := l.take(want)
	if err != nil {
		return nil, err
	}
	ns, err := bridge.NewNamespace()
	if err != nil {
		l.subnet.Free(address)
		return nil, err
	}
	r := &ready{ns: ns, lan: l, port: k.port(l, address, l.settings.prefix+"0")}
	if l.named() {
		r.names, err = listenNames(ns.File)
	}
	if err == nil {
		err = k.plug(l, ns, r.port)
	}
	if err != nil {
		r.close()
		l.subnet.Free(address)
		return nil, err
	}
	return r, nil
}

// plug gives a namespace a device on one of the network's bridges, from which it can send as itself alone.
func (k *Keeper) plug(l *lan, ns *bridge.Namespace, p bridge.Port) error {
	address := p.Address.Addr()
	device, err := l.spans.Take(address)
	if err != nil {
		return err
	}
	if err = device.Attach(ns, p); err == nil {
		if err = k.table.Admit(nft.Member{Device: p.Name, MAC: p.MAC, Address: address}); err != nil {
			bridge.RemovePort(p.Name)
		}
	}
	if err != nil {
		l.spans.Free(address)
	}
	return err
}

// free gives an address back, and the room on the bridge, when its device is gone.
func (k *Keeper) free(l *lan, address netip.Addr) {
	k.unplug(l, address)
	l.subnet.Free(address)
}

// unplug ends what plug began, when the device is gone. The address stays taken.
func (k *Keeper) unplug(l *lan, address netip.Addr) {
	if err := k.table.Expel(k.vethName(address)); err != nil {
		k.log.Warn("forget network device", "address", address, "err", err)
	}
	l.spans.Free(address)
}

// named tells whether containers on the network find one another by name: on users' networks they do.
func (l *lan) named() bool { return l.name != nt.NetworkBridge }

// port is the device of an endpoint on l.
func (k *Keeper) port(l *lan, address netip.Addr, inside string) bridge.Port {
	p := bridge.Port{
		Name: k.vethName(address), Inside: inside, MTU: l.mtu, Address: netip.PrefixFrom(address, l.subnet.Prefix().Bits()),
		MAC: net.HardwareAddr(ipam.MAC(address)), Gateway: l.gateway, Apart: !l.settings.icc,
	}
	if l.closed {
		p.Gateway = netip.Addr{}
	}
	return p
}

// take takes an address: the one wanted, or any.
func (l *lan) take(want netip.Addr) (netip.Addr, error) {
	if !want.IsValid() {
		return l.subnet.Next()
	}
	return want, l.subnet.Take(want)
}

// wanted is the address that an endpoint asks for, or had last; the zero value is any. must tells that no other will do.
func (l *lan) wanted(containerID string, wish *nt.EndpointSettings) (want netip.Addr, must bool, err error) {
	if wish == nil || wish.IPAMConfig == nil || !wish.IPAMConfig.IPv4Address.IsValid() {
		want, _ = l.subnet.Recall(containerID)
		return want, false, nil
	}
	want = wish.IPAMConfig.IPv4Address
	switch {
	case l.name == nt.NetworkBridge:
		return want, true, errdefs.ErrInvalidArgument.WithMessage("user specified IP address is supported on user defined networks only")
	case !l.static:
		return want, true, errdefs.ErrInvalidArgument.WithMessage("user specified IP address is supported only when connecting to networks with user configured subnets")
	case !l.subnet.Contains(want):
		return want, true, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("no configured subnet contains IP address %s", want))
	}
	return want, true, nil
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

// spanName is the nth further bridge of a user's network, linkName the device on the first that leads there: "cx" or
// "cl", five digits of the mark, five of the ID, two of the number.
func (c Config) spanName(id string, n int) string {
	return fmt.Sprintf("cx%.5s%.5s%02x", c.Mark+"00000", id, n)
}

func (c Config) linkName(id string, n int) string {
	return fmt.Sprintf("cl%.5s%.5s%02x", c.Mark+"00000", id, n)
}
