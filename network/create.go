package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
)

// Options of a network that the bridge driver knows.
const (
	optName       = "com.docker.network.bridge.name"
	optICC        = "com.docker.network.bridge.enable_icc"
	optMasquerade = "com.docker.network.bridge.enable_ip_masquerade"
	optHostIP     = "com.docker.network.bridge.host_binding_ipv4"
	optMTU        = "com.docker.network.driver.mtu"
	optPrefix     = "com.docker.network.container_iface_prefix"
)

// Create makes a user's network and answers once it is real and its record durable. A name that is taken is
// errdefs.ErrConflict.
func (k *Keeper) Create(ctx context.Context, req nt.CreateRequest) (nt.CreateResponse, error) {
	k.making.Lock()
	defer k.making.Unlock()
	if err := k.mayCreate(req.Name); err != nil {
		return nt.CreateResponse{}, err
	}
	r, err := draft(req)
	if err != nil {
		return nt.CreateResponse{}, err
	}
	foreign, err := k.foreign(r)
	if err != nil {
		return nt.CreateResponse{}, err
	}
	if err := k.chooseSubnet(&r, foreign); err != nil {
		return nt.CreateResponse{}, err
	}
	l, err := k.openLan(req.Name, r)
	if err != nil {
		return nt.CreateResponse{}, err
	}
	err = k.table.AddBridge(l.walls()[0])
	if err == nil {
		err = k.store.Put(req.Name, r)
	}
	if err != nil {
		return nt.CreateResponse{}, errors.Join(err, k.forgetWalls(l), k.closeLan(l))
	}
	k.mu.Lock()
	k.records[req.Name], k.lans[req.Name] = r, l
	k.mu.Unlock()
	k.report("create", req.Name, r)
	return nt.CreateResponse{ID: r.ID}, nil
}

func (k *Keeper) mayCreate(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return errdefs.ErrInvalidArgument.WithMessage("invalid network name: name is empty")
	case predefined(name) || strings.HasPrefix(name, "container:"):
		return errdefs.ErrPermissionDenied.WithMessage("operation is not permitted on predefined " + name + " network")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, taken := k.records[name]; taken {
		return errdefs.ErrConflict.WithMessage("network with name " + name + " already exists")
	}
	return nil
}

// foreign is the name of the bridge that the user wants the network on, where it is there already; "" if the engine makes it.
// One that another network is on is errdefs.ErrPermissionDenied.
func (k *Keeper) foreign(r record) (string, error) {
	device := r.Options[optName]
	if device == "" {
		return "", nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for other, o := range k.records {
		if o.Driver == "bridge" && k.deviceOf(other, o) == device {
			return "", errdefs.ErrPermissionDenied.WithMessage(fmt.Sprintf(
				"cannot create network %s (%s): conflicts with network %s (%s): networks have same bridge name", r.ID, device, o.ID, device))
		}
	}
	if !bridge.Foreign(device, k.cfg.tableName()) {
		return "", nil
	}
	return device, nil
}

// draft is the record of a network as the request would have it, checked as far as it can be without the host.
func draft(req nt.CreateRequest) (record, error) {
	r := record{
		ID: newID(), Created: time.Now().UTC(), Driver: req.Driver, Internal: req.Internal, Attachable: req.Attachable,
		Labels: maps.Clone(req.Labels), Options: maps.Clone(req.Options),
	}
	if r.Driver == "" || r.Driver == "default" {
		r.Driver = "bridge"
	}
	if err := drafted(req, r.Driver); err != nil {
		return r, err
	}
	if req.IPAM != nil {
		r.IPAMOptions = maps.Clone(req.IPAM.Options)
		config, err := ipamConfig(req.IPAM)
		if err != nil {
			return r, err
		}
		r.Config = config
	}
	_, err := r.settings()
	return r, err
}

// drafted refuses what this engine does not have.
func drafted(req nt.CreateRequest, driver string) error {
	absent := func(what string) error {
		return errdefs.ErrNotImplemented.WithMessage(what + " not implemented by this engine")
	}
	switch driver {
	case "bridge":
	case "host", "null":
		return errdefs.ErrPermissionDenied.WithMessage("only one instance of \"" + driver + "\" network is allowed")
	case "macvlan", "ipvlan", "overlay":
		return absent("networks with the driver " + driver + " are")
	default:
		return errdefs.ErrNotFound.WithMessage("could not find plugin " + driver + ": plugin \"" + driver + "\" not found")
	}
	switch {
	case req.EnableIPv6 != nil && *req.EnableIPv6:
		return absent("IPv6 networks are")
	case req.EnableIPv4 != nil && !*req.EnableIPv4:
		return absent("networks without IPv4 are")
	case req.Scope != "" && req.Scope != "local":
		return absent("networks of scope " + req.Scope + " are")
	case req.ConfigOnly || req.ConfigFrom != nil:
		return absent("configuration-only networks are")
	case req.Ingress:
		return absent("ingress networks are")
	case req.IPAM != nil && req.IPAM.Driver != "" && req.IPAM.Driver != "default":
		return errdefs.ErrNotFound.WithMessage("could not find plugin " + req.IPAM.Driver + ": plugin \"" + req.IPAM.Driver + "\" not found")
	}
	return nil
}

// ipamConfig is the one IPv4 subnet that the request describes; the zero value leaves the choice to the engine.
func ipamConfig(in *nt.IPAM) (nt.IPAMConfig, error) {
	var c nt.IPAMConfig
	switch len(in.Config) {
	case 0:
		return c, nil
	case 1:
	default:
		return c, errdefs.ErrPermissionDenied.WithMessage("bridge driver doesn't support multiple subnets")
	}
	c = in.Config[0]
	bad := func(format string, args ...any) error {
		return errdefs.ErrInvalidArgument.WithMessage("invalid network config:\n" + fmt.Sprintf(format, args...))
	}
	switch {
	case !c.Subnet.IsValid() && (c.Gateway.IsValid() || c.IPRange.IsValid() || len(c.AuxAddress) > 0):
		return c, bad("a subnet is needed for a gateway, a range or auxiliary addresses")
	case !c.Subnet.IsValid():
		return c, nil
	case !c.Subnet.Addr().Is4():
		return c, errdefs.ErrNotImplemented.WithMessage("IPv6 networks are not implemented by this engine")
	case c.Subnet.Addr().IsMulticast() || c.Subnet.Addr().IsUnspecified() || c.Subnet.Addr().As4()[0] >= 240:
		return c, bad("invalid subnet %s: no host can have an address in it", c.Subnet)
	case c.Subnet != c.Subnet.Masked():
		return c, bad("invalid subnet %s: it should be %s", c.Subnet, c.Subnet.Masked())
	case c.IPRange.IsValid() && c.IPRange != c.IPRange.Masked():
		return c, bad("invalid ip-range %s: it should be %s", c.IPRange, c.IPRange.Masked())
	case c.IPRange.IsValid() && (!c.Subnet.Contains(c.IPRange.Addr()) || c.IPRange.Bits() < c.Subnet.Bits()):
		return c, bad("invalid ip-range %s: parent subnet %s does not contain it", c.IPRange, c.Subnet)
	case c.Gateway.IsValid() && (!c.Subnet.Contains(c.Gateway) || c.Gateway == c.Subnet.Addr()):
		return c, bad("invalid gateway %s: parent subnet %s does not contain it", c.Gateway, c.Subnet)
	}
	for _, name := range slices.Sorted(maps.Keys(c.AuxAddress)) {
		if a := c.AuxAddress[name]; !c.Subnet.Contains(a) {
			return c, bad("invalid auxiliary address %s: parent subnet %s does not contain it", a, c.Subnet)
		}
	}
	// Whether it has room at all.
	_, err := ipam.NewSubnet(c.Subnet, c.IPRange)
	return c, err
}

// chooseSubnet decides the bridge's address: in the subnet asked for, else that of the bridge of somebody else that it is to
// be on, else in one from the pools.
func (k *Keeper) chooseSubnet(r *record, foreign string) error {
	used := k.subnets()
	host, err := bridge.Taken(foreign)
	if err != nil {
		return err
	}
	has := bridge.Address(foreign)
	if _, clash := ipam.Overlap(has, used); has.IsValid() && !clash && !r.Config.Subnet.IsValid() {
		r.Bridge = has
		return nil
	}
	if c := r.Config; c.Subnet.IsValid() {
		if _, clash := ipam.Overlap(c.Subnet, used); clash {
			return errdefs.ErrPermissionDenied.WithMessage("invalid pool request: Pool overlaps with other one on this address space")
		}
		// A bridge over one of the host's own routes would cut the host off from what is there.
		if route, clash := ipam.Overlap(c.Subnet, host); clash {
			return errdefs.ErrPermissionDenied.WithMessage(fmt.Sprintf("invalid pool request: Pool overlaps with the host's route to %s", route))
		}
		gateway := c.Gateway
		if !gateway.IsValid() && has.Masked() == c.Subnet {
			gateway = has.Addr()
		}
		if !gateway.IsValid() {
			if gateway, err = firstFree(c); err != nil {
				return err
			}
		}
		r.Bridge = netip.PrefixFrom(gateway, c.Subnet.Bits())
		return nil
	}
	subnet, err := ipam.Choose(k.pools(), append(host, used...))
	if err != nil {
		return err
	}
	r.Bridge = netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
	return nil
}

// firstFree is the gateway of a subnet whose user named none.
func firstFree(c nt.IPAMConfig) (netip.Addr, error) {
	s, err := ipam.NewSubnet(c.Subnet, netip.Prefix{}, slices.Collect(maps.Values(c.AuxAddress))...)
	if err != nil {
		return netip.Addr{}, err
	}
	return s.Next()
}

// subnets are those of all networks.
func (k *Keeper) subnets() []netip.Prefix {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []netip.Prefix
	for _, r := range k.records {
		if r.Bridge.IsValid() {
			all = append(all, r.Bridge.Masked())
		}
	}
	return all
}

// settings are a network's options, read.
type settings struct {
	bridge, prefix  string
	icc, masquerade bool
	hostIP          netip.Addr
	mtu             int
}

func (r record) settings() (settings, error) {
	s := settings{bridge: r.Options[optName], prefix: "eth", icc: true, masquerade: true}
	var errs []error
	flag := func(key string, to *bool) {
		if text, ok := r.Options[key]; ok {
			var err error
			if *to, err = strconv.ParseBool(text); err != nil {
				errs = append(errs, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid value for %s: %q", key, text)))
			}
		}
	}
	flag(optICC, &s.icc)
	flag(optMasquerade, &s.masquerade)
	if text, ok := r.Options[optMTU]; ok {
		var err error
		if s.mtu, err = strconv.Atoi(text); err != nil || s.mtu < 68 || s.mtu > 65535 {
			errs = append(errs, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid value for %s: %q", optMTU, text)))
		}
	}
	if text, ok := r.Options[optHostIP]; ok {
		var err error
		if s.hostIP, err = netip.ParseAddr(text); err != nil || !s.hostIP.Is4() {
			errs = append(errs, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid value for %s: %q", optHostIP, text)))
		}
	}
	if text := r.Options[optPrefix]; text != "" {
		s.prefix = text
	}
	for _, name := range []string{s.bridge, s.prefix + "0"} {
		if name != "" && !deviceName(name) {
			errs = append(errs, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid name of a network device: %q", name)))
		}
	}
	return s, errors.Join(errs...)
}

// deviceName tells whether the kernel takes a name for a device.
func deviceName(name string) bool {
	reserved := []string{".", "..", "all", "default"} // the last two are what settings of all devices are called
	return len(name) <= 15 && !slices.Contains(reserved, name) && !strings.ContainsAny(name, "/:% \t\n\r\v\f")
}

// bridgeName is the device of a user's network that names none: "cb", five digits of the mark, eight of the ID.
func (c Config) userBridge(id string) string { return "cb" + (c.Mark + "00000")[:5] + id[:8] }

// shortHash is for names that would be too long.
func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:5])
}
