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
	if err := k.chooseSubnets(&r, foreign, enabled(req.EnableIPv4, true), enabled(req.EnableIPv6, false)); err != nil {
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
		if err := r.configure(req); err != nil {
			return r, err
		}
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
	case !enabled(req.EnableIPv4, true) && !enabled(req.EnableIPv6, false):
		return errdefs.ErrInvalidArgument.WithMessage("IPv4 or IPv6 must be enabled")
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

// enabled reads a switch that may be left out.
func enabled(flag *bool, otherwise bool) bool {
	if flag == nil {
		return otherwise
	}
	return *flag
}

// configure takes the subnets that the request describes, one of each family at most; without one the choice is the
// engine's. What is said of a family that the network does not have is passed over, as Docker does.
func (r *record) configure(req nt.CreateRequest) error {
	for _, c := range req.IPAM.Config {
		if !c.Subnet.IsValid() {
			if c.Gateway.IsValid() || c.IPRange.IsValid() || len(c.AuxAddress) > 0 {
				return badConfig("a subnet is needed for a gateway, a range or auxiliary addresses")
			}
			continue
		}
		to, has := &r.Config, enabled(req.EnableIPv4, true)
		if c.Subnet.Addr().Is6() {
			to, has = &r.Config6, enabled(req.EnableIPv6, false)
		}
		if !has {
			continue
		}
		if to.Subnet.IsValid() {
			return errdefs.ErrPermissionDenied.WithMessage("bridge driver doesn't support multiple subnets")
		}
		if err := validConfig(c); err != nil {
			return err
		}
		*to = c
	}
	return nil
}

func badConfig(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage("invalid network config:\n" + fmt.Sprintf(format, args...))
}

// validConfig checks what can be checked of a subnet without the host.
func validConfig(c nt.IPAMConfig) error {
	switch {
	case !forHosts(c.Subnet.Addr()):
		return badConfig("invalid subnet %s: no host can have an address in it", c.Subnet)
	case c.Subnet != c.Subnet.Masked():
		return badConfig("invalid subnet %s: it should be %s", c.Subnet, c.Subnet.Masked())
	case c.IPRange.IsValid() && c.IPRange != c.IPRange.Masked():
		return badConfig("invalid ip-range %s: it should be %s", c.IPRange, c.IPRange.Masked())
	case c.IPRange.IsValid() && (!c.Subnet.Contains(c.IPRange.Addr()) || c.IPRange.Bits() < c.Subnet.Bits()):
		return badConfig("invalid ip-range %s: parent subnet %s does not contain it", c.IPRange, c.Subnet)
	case c.Gateway.IsValid() && (!c.Subnet.Contains(c.Gateway) || c.Gateway == c.Subnet.Addr()):
		return badConfig("invalid gateway %s: parent subnet %s does not contain it", c.Gateway, c.Subnet)
	}
	for _, name := range slices.Sorted(maps.Keys(c.AuxAddress)) {
		if a := c.AuxAddress[name]; !c.Subnet.Contains(a) {
			return badConfig("invalid auxiliary address %s: parent subnet %s does not contain it", a, c.Subnet)
		}
	}
	// Whether it has room at all.
	_, err := ipam.NewSubnet(c.Subnet, c.IPRange)
	return err
}

// forHosts tells whether hosts can have addresses where this one begins, and be found by them from another link.
func forHosts(a netip.Addr) bool {
	return !a.IsMulticast() && !a.IsUnspecified() && !a.Is4In6() &&
		!(a.Is4() && a.As4()[0] >= 240) && !(a.Is6() && a.IsLinkLocalUnicast())
}

// chooseSubnets decides the bridge's address in each family: in the subnet asked for, else that of the bridge of somebody else
// that it is to be on, else in one from the pools.
func (k *Keeper) chooseSubnets(r *record, foreign string, four, six bool) error {
	used := k.subnets()
	host, err := bridge.Taken(foreign)
	if err != nil {
		return err
	}
	has := bridge.Addresses(foreign)
	if four {
		if r.Bridge, err = chooseSubnet(r.Config, familyOf(has, false), used, host, k.pools(false)); err != nil {
			return err
		}
	}
	if six {
		r.Bridge6, err = chooseSubnet(r.Config6, familyOf(has, true), used, host, k.pools(true))
	}
	return err
}

func chooseSubnet(c nt.IPAMConfig, has, used, host []netip.Prefix, pools []ipam.Pool) (netip.Prefix, error) {
	if !c.Subnet.IsValid() {
		for _, p := range has {
			if _, clash := ipam.Overlap(p, used); !clash {
				return p, nil
			}
		}
		subnet, err := ipam.Choose(pools, append(slices.Clone(host), used...))
		if err != nil {
			return netip.Prefix{}, err
		}
		return netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits()), nil
	}
	if _, clash := ipam.Overlap(c.Subnet, used); clash {
		return netip.Prefix{}, errdefs.ErrPermissionDenied.WithMessage("invalid pool request: Pool overlaps with other one on this address space")
	}
	// A bridge over one of the host's own routes would cut the host off from what is there.
	if route, clash := ipam.Overlap(c.Subnet, host); clash {
		return netip.Prefix{}, errdefs.ErrPermissionDenied.WithMessage(fmt.Sprintf("invalid pool request: Pool overlaps with the host's route to %s", route))
	}
	gateway, err := c.Gateway, error(nil)
	for _, p := range has {
		if !gateway.IsValid() && p.Masked() == c.Subnet {
			gateway = p.Addr()
		}
	}
	if !gateway.IsValid() {
		gateway, err = firstFree(c)
	}
	return netip.PrefixFrom(gateway, c.Subnet.Bits()), err
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
		all = append(all, r.subnets()...)
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
