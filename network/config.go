package network

import (
	"fmt"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"
)

// A configuration is a network that nobody can be on: it says how others are made that name it.

// errConfiguration is what a container hears that wants to be on a configuration.
var errConfiguration = errdefs.ErrPermissionDenied.WithMessage("cannot create endpoint on configuration-only network")

// createConfiguration records a configuration; k.making is held.
func (k *Keeper) createConfiguration(req nt.CreateRequest) (nt.CreateResponse, error) {
	if req.Ingress || req.Internal || req.Attachable {
		return nt.CreateResponse{}, errdefs.ErrPermissionDenied.WithMessage("configuration network can only contain network specific fields. " +
			"Network operator fields like [ ingress | internal | attachable | scope ] are not supported.")
	}
	if req.ConfigFrom != nil && req.ConfigFrom.Network != "" {
		return nt.CreateResponse{}, errdefs.ErrPermissionDenied.WithMessage("a configuration network cannot depend on another configuration network")
	}
	r, err := draft(req)
	if err != nil {
		return nt.CreateResponse{}, err
	}
	r = record{ID: r.ID, Created: r.Created, Driver: "null", Labels: r.Labels, Shape: &req}
	if err := k.store.Put(req.Name, r); err != nil {
		return nt.CreateResponse{}, err
	}
	k.mu.Lock()
	k.records[req.Name] = r
	k.mu.Unlock()
	k.report("create", req.Name, r)
	return nt.CreateResponse{ID: r.ID}, nil
}

// configured is the request as the configuration that it names has it, and the name of that; the request itself where it names none.
func (k *Keeper) configured(req nt.CreateRequest) (nt.CreateRequest, string, error) {
	if req.ConfigFrom == nil || req.ConfigFrom.Network == "" {
		return req, "", nil
	}
	refuse := func(what string) (nt.CreateRequest, string, error) {
		return req, "", errdefs.ErrPermissionDenied.WithMessage(what + " are not supported if the network depends on a configuration network")
	}
	if p := req.IPAM; p != nil && (len(p.Config)+len(p.Options) > 0 || p.Driver != "" && p.Driver != "default") || enabled(req.EnableIPv6, false) || len(req.Labels) > 0 {
		return refuse("user specified configurations")
	}
	if len(req.Options) > 0 {
		return refuse("network driver options")
	}
	name := req.ConfigFrom.Network
	found, err := k.find(name)
	if err == nil {
		name = found
	}
	k.mu.Lock()
	shape := k.records[name].Shape
	k.mu.Unlock()
	if err != nil || shape == nil {
		return req, "", errdefs.ErrNotFound.WithMessage(fmt.Sprintf("configuration network %q does not exist", name))
	}
	like := *shape
	like.Name, like.Driver, like.ConfigOnly, like.Internal, like.Attachable = req.Name, req.Driver, false, req.Internal, req.Attachable
	return like, name, nil
}

// shapes tells whether networks were made as the configuration of this name says; k.mu is held.
func (k *Keeper) shapes(name string) bool {
	for _, r := range k.records {
		if r.From == name {
			return true
		}
	}
	return false
}

// showConfiguration fills in what a configuration says.
func (r record) showConfiguration(n *nt.Inspect) {
	n.ConfigOnly, n.EnableIPv4, n.EnableIPv6 = true, enabled(r.Shape.EnableIPv4, true), enabled(r.Shape.EnableIPv6, false)
	for name, text := range r.Shape.Options {
		n.Options[name] = text
	}
	if r.Shape.IPAM != nil {
		n.IPAM.Config = append(n.IPAM.Config, r.Shape.IPAM.Config...)
		n.IPAM.Options = r.Shape.IPAM.Options
	}
}
