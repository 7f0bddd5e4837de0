package endpoint

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/container"
)

// What events call a change of published ports.
const (
	actionPortAdd    et.Action = "port_add"
	actionPortRemove et.Action = "port_rm"
)

// AddPorts publishes more ports of a container: at once when it runs, and from its next starts on. All are published or none.
func (d *Conductor) AddPorts(ctx context.Context, containerRef string, change api.PortChange) error {
	return d.changePorts(ctx, containerRef, actionPortAdd, change.Ports, func(c *container.Container, host *ct.HostConfig) error {
		for inside, bindings := range change.Ports {
			if len(bindings) == 0 {
				bindings = []nt.PortBinding{{}}
			}
			for _, b := range bindings {
				if b.HostPort != "" && slices.Contains(host.PortBindings[inside], b) {
					return errdefs.ErrConflict.WithMessage(fmt.Sprintf("port %s of container %s is published at %s already", inside, c.Name, shown(b)))
				}
				host.PortBindings[inside] = append(slices.Clip(host.PortBindings[inside]), b)
			}
			key, from := api.PublishFrom+"."+inside.String(), strings.Join(change.From, ",")
			if from == "" {
				continue
			}
			if was, has := host.Annotations[key]; len(c.HostConfig.PortBindings[inside]) > 0 && (!has || was != from) {
				return errdefs.ErrConflict.WithMessage(fmt.Sprintf("port %s of container %s is published already, for others than %s: end that first", inside, c.Name, from))
			}
			host.Annotations[key] = from
		}
		return nil
	})
}

// RemovePorts ends the publication of ports of a container, at once and for its next starts.
func (d *Conductor) RemovePorts(ctx context.Context, containerRef string, change api.PortChange) error {
	return d.changePorts(ctx, containerRef, actionPortRemove, change.Ports, func(c *container.Container, host *ct.HostConfig) error {
		for inside, bindings := range change.Ports {
			if len(bindings) == 0 {
				bindings = []nt.PortBinding{{}}
			}
			for _, b := range bindings {
				if err := unpublish(c, host, inside, b); err != nil {
					return err
				}
			}
			if len(host.PortBindings[inside]) == 0 {
				delete(host.PortBindings, inside)
				delete(host.Annotations, api.PublishFrom+"."+inside.String())
			}
		}
		return nil
	})
}

// unpublish takes out of host what the container publishes of a port as want says; host is c's with what was taken out already.
func unpublish(c *container.Container, host *ct.HostConfig, inside nt.Port, want nt.PortBinding) error {
	now, was := c.Ports[inside], c.HostConfig.PortBindings[inside]
	var left []nt.PortBinding
	found := false
	for _, b := range host.PortBindings[inside] {
		on := b
		// What runs says which ports of the host were chosen, in the order in which they were asked for.
		if i := slices.Index(was, b); i >= 0 && len(now) == len(was) && slices.Index(was[i+1:], b) < 0 {
			on = now[i]
		}
		address := !want.HostIP.IsValid() || want.HostIP == b.HostIP || want.HostIP == on.HostIP
		if address && (want.HostPort == "" || want.HostPort == b.HostPort || want.HostPort == on.HostPort) {
			found = true
			continue
		}
		left = append(left, b)
	}
	switch {
	case found:
		host.PortBindings[inside] = left
		return nil
	case len(was) == 0 && len(now) > 0:
		return errdefs.ErrConflict.WithMessage(fmt.Sprintf("port %s of container %s is published with all that it exposes, and not by itself", inside, c.Name))
	}
	return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("port %s of container %s is not published at %s", inside, c.Name, shown(want)))
}

// shown is a place on the host as people write it.
func shown(b nt.PortBinding) string {
	host, port := "", b.HostPort
	if b.HostIP.IsValid() {
		host = b.HostIP.String()
	}
	if port == "" {
		port = "any port"
	}
	if host == "" {
		return port
	}
	return net.JoinHostPort(host, port)
}

// changePorts changes what a container publishes, where it runs at once, and records it.
func (d *Conductor) changePorts(ctx context.Context, ref string, action et.Action, ports nt.PortMap, edit func(*container.Container, *ct.HostConfig) error) error {
	if len(ports) == 0 {
		return errdefs.ErrInvalidArgument.WithMessage("no port is named")
	}
	c, release, err := d.hold(ctx, ref)
	if err != nil {
		return err
	}
	defer release()
	switch mode := c.HostConfig.NetworkMode; {
	case mode.IsContainer():
		return errdefs.ErrInvalidArgument.WithMessage("conflicting options: port publishing and the container type network mode")
	case mode.IsHost():
		return errdefs.ErrInvalidArgument.WithMessage("container " + c.Name + " is in the host's network: its ports are the host's")
	}
	next, host := *c, *c.HostConfig
	host.PortBindings, host.Annotations = maps.Clone(host.PortBindings), maps.Clone(host.Annotations)
	if host.PortBindings == nil {
		host.PortBindings = nt.PortMap{}
	}
	if host.Annotations == nil {
		host.Annotations = map[string]string{}
	}
	if err := edit(c, &host); err != nil {
		return err
	}
	next.HostConfig = &host
	if err := d.Networks.Validate(d.Run.NetworkRequest(&next)); err != nil {
		return err
	}
	var published nt.PortMap
	if c.State.Alive() {
		if published, err = d.Networks.Republish(c.ID, d.Run.NetworkRequest(&next)); err != nil {
			return err
		}
	}
	now, err := d.Containers.Change(c.ID, func(c *container.Container) error {
		c.HostConfig = &host
		if c.State.Alive() {
			c.Ports = published
		}
		return nil
	})
	if err != nil {
		if c.State.Alive() {
			_, undone := d.Networks.Republish(c.ID, d.Run.NetworkRequest(c))
			err = withUndone(err, undone)
		}
		return err
	}
	attributes := map[string]string{"image": now.Config.Image, "name": now.Name, "ports": listed(ports)}
	for label, value := range now.Config.Labels {
		if _, ours := attributes[label]; !ours {
			attributes[label] = value
		}
	}
	d.Tell(et.Message{Type: et.ContainerEventType, Action: action, Actor: et.Actor{ID: now.ID, Attributes: attributes}})
	return nil
}

// listed are the ports of a change as an event tells them.
func listed(ports nt.PortMap) string {
	var all []string
	for inside, bindings := range ports {
		for _, b := range bindings {
			text := inside.String()
			if b.HostPort != "" || b.HostIP.IsValid() {
				text = shown(b) + "->" + text
			}
			all = append(all, text)
		}
		if len(bindings) == 0 {
			all = append(all, inside.String())
		}
	}
	slices.Sort(all)
	const most = 20 // of ten thousand ports nobody reads every one
	if len(all) > most {
		all = append(all[:most], fmt.Sprintf("and %d more", len(all)-most))
	}
	return strings.Join(all, ", ")
}
