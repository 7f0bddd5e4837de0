package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
	"github.com/cove-containers/cove/network/option"
)

// Create makes a user's network and answers once it is real and its record durable. A name that is taken is
// errdefs.ErrConflict.
func (k *Keeper) Create(ctx context.Context, req nt.CreateRequest) (nt.CreateResponse, error) {
	k.making.Lock()
	defer k.making.Unlock()
	if err := k.mayCreate(req.Name); err != nil {
		return nt.CreateResponse{}, err
	}
	if req.ConfigOnly {
		return k.createConfiguration(req)
	}
	req, from, err := k.configured(req)
	if err != nil {
		return nt.CreateResponse{}, err
	}
	if from == "" {
		k.cfg.Complete(&req)
	}
	if err := families(&req); err != nil {
		return nt.CreateResponse{}, err
	}
	r, err := draft(req)
	if err != nil {
		return nt.CreateResponse{}, err
	}
	r.From = from
	foreign, err := k.foreign(r)
	if err == nil {
		err = k.sole(r, r.Options["parent"])
	}
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
	for _, wall := range l.walls() {
		err = errors.Join(err, k.table.AddBridge(wall))
	}
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

// sole refuses a second network on the same parent, in Docker's words.
func (k *Keeper) sole(r record, name string) error {
	if r.Driver == "bridge" || name == "" {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for other, o := range k.records {
		if o.Driver != "bridge" && o.Options["parent"] == name {
			return errdefs.ErrPermissionDenied.WithMessage(fmt.Sprintf("network %s is already using parent interface %s", other, name))
		}
	}
	return nil
}

// foreign is the name of the bridge that the user wants the network on, where it is there already; "" if the engine makes it.
// One that another network is on is errdefs.ErrPermissionDenied.
func (k *Keeper) foreign(r record) (string, error) {
	device := r.Options[option.Bridge]
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
	if !bridge.Foreign(device, k.cfg.TableName()) {
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
	set, err := option.Read(r.Driver, r.Options)
	if err == nil && r.Driver != "bridge" && set.Parent == "" {
		r.Internal = true // what it is on leads nowhere
	}
	if isolated := set.Gateway4 == option.Isolated || set.Gateway6 == option.Isolated; err == nil && isolated && !r.Internal {
		err = errdefs.ErrInvalidArgument.WithMessage("gateway mode 'isolated' can only be used for an internal network")
	}
	return r, err
}

// families takes from the options which families the network is to have, where the request does not say.
func families(req *nt.CreateRequest) error {
	four, six, err := option.Families(req.Options)
	if req.EnableIPv4 == nil {
		req.EnableIPv4 = four
	}
	if req.EnableIPv6 == nil {
		req.EnableIPv6 = six
	}
	return err
}

// drafted refuses what this engine does not have.
func drafted(req nt.CreateRequest, driver string) error {
	absent := func(what string) error {
		return errdefs.ErrNotImplemented.WithMessage(what + " not implemented by this engine")
	}
	switch driver {
	case "bridge", "macvlan", "ipvlan":
	case "host", "null":
		return errdefs.ErrPermissionDenied.WithMessage("only one instance of \"" + driver + "\" network is allowed")
	case "overlay":
		return absent("networks with the driver " + driver + " are")
	default:
		return errdefs.ErrNotFound.WithMessage("could not find plugin " + driver + ": plugin \"" + driver + "\" not found")
	}
	switch {
	case !enabled(req.EnableIPv4, true) && !enabled(req.EnableIPv6, false):
		return errdefs.ErrInvalidArgument.WithMessage("IPv4 or IPv6 must be enabled")
	case req.Scope != "" && req.Scope != "local":
		return absent("networks of scope " + req.Scope + " are")
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
	case c.Gateway.IsValid() && (!c.Subnet.Contains(c.Gateway) || c.Gateway == c.Subnet.Addr() && c.Subnet.Bits() < c.Subnet.Addr().BitLen()-1):
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
	if r.Driver != "bridge" && r.Config.Subnet.IsValid() {
		host = nil // on a device of the host it is the very range that the host has there
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
	// A bridge over one of the host's own routes would cut the host off from what is there; in a wider one, but the loopback's, it is the more exact way.
	wider := func(p netip.Prefix) bool { return p.Bits() < c.Subnet.Bits() && !p.Addr().IsLoopback() }
	if route, clash := ipam.Overlap(c.Subnet, slices.DeleteFunc(slices.Clone(host), wider)); clash {
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
