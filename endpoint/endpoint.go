// Package endpoint conducts what changes a container's places on networks while it exists: connect and disconnect, of
// running containers and of stopped ones. What a start does with the networks is the engine's.
package endpoint

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/errdefs"
	et "github.com/moby/moby/api/types/events"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/network"
)

// Parts are what the conductor conducts.
type Parts struct {
	Containers *container.Store
	Networks   Networks
	Run        Run
	// Tell is told of every change.
	Tell func(et.Message)
}

// Networks are the networks, *network.Keeper but in tests.
type Networks interface {
	Inspect(ref string) (nt.Inspect, error)
	Validate(req network.Request) error
	Connect(ctx context.Context, containerID, ref string, req network.Request) (*network.Sandbox, error)
	Disconnect(ctx context.Context, containerID, ref string, req network.Request) (*network.Sandbox, error)
	// Republish publishes what the container asks for by now and ends what it does not.
	Republish(containerID string, req network.Request) (nt.PortMap, error)
}

// Run is what the engine knows of how a container runs.
type Run interface {
	// NetworkRequest is what the container asks of its networks.
	NetworkRequest(c *container.Container) network.Request
	// WriteNames writes the files by which it finds itself and others.
	WriteNames(c *container.Container, box *network.Sandbox) error
	// KeepNames has its supervisor hold the sockets of its name server.
	KeepNames(ctx context.Context, containerID string, names *network.Sockets) error
}

// Conductor connects and disconnects. It is safe for concurrent use.
type Conductor struct{ Parts }

// New makes a Conductor.
func New(p Parts) *Conductor { return &Conductor{p} }

// hold finds a container and makes the caller the only one acting on it until release.
func (d *Conductor) hold(ctx context.Context, ref string) (*container.Container, func(), error) {
	c, err := d.Containers.Get(ref)
	if err != nil {
		return nil, nil, err
	}
	release, err := d.Containers.Lock(ctx, c.ID)
	if err != nil {
		return nil, nil, err
	}
	if c, err = d.Containers.Get(c.ID); err != nil {
		release()
		return nil, nil, err
	}
	return c, release, nil
}

// Connect puts a container on one more network: at once when it runs, else from its next start on. wish may be nil.
func (d *Conductor) Connect(ctx context.Context, networkRef, containerRef string, wish *nt.EndpointSettings) error {
	n, err := d.Networks.Inspect(networkRef)
	if err != nil {
		return err
	}
	c, release, err := d.hold(ctx, containerRef)
	if err != nil {
		return err
	}
	defer release()
	ctx = context.WithoutCancel(ctx) // half connected would be worse than late
	if wish == nil {
		wish = &nt.EndpointSettings{}
	}
	if err := mayConnect(c, n.Name); err != nil {
		return err
	}
	wanted := maps.Clone(c.Wished)
	if wanted == nil {
		wanted = map[string]*nt.EndpointSettings{}
	}
	wanted[n.Name] = wish.Copy()
	next := *c
	next.Wished = wanted
	if err := d.Networks.Validate(d.Run.NetworkRequest(&next)); err != nil {
		return err
	}
	connect := func(req network.Request) (*network.Sandbox, error) { return d.Networks.Connect(ctx, c.ID, n.Name, req) }
	leave := func(req network.Request) (*network.Sandbox, error) {
		return d.Networks.Disconnect(ctx, c.ID, n.Name, req)
	}
	err = d.change(ctx, c, &next, connect, leave)
	if err != nil {
		return err
	}
	d.tell(c, n, et.ActionConnect)
	return nil
}

// mayConnect refuses what makes no sense, in Docker's words.
func mayConnect(c *container.Container, name string) error {
	mode := c.HostConfig.NetworkMode
	switch {
	case mode.IsContainer():
		return errdefs.ErrInvalidArgument.WithMessage("container sharing network namespace with another container or host cannot be connected to any other network")
	case mode.IsHost() || name == nt.NetworkHost:
		return errdefs.ErrPermissionDenied.WithMessage("cannot connect container to host network - container must be created in host network mode")
	case mode.IsNone() && c.Wished[nt.NetworkNone] != nil || name == nt.NetworkNone:
		return errdefs.ErrPermissionDenied.WithMessage("container cannot be connected to multiple networks with one of the networks in private (none) mode")
	case c.Wished[name] != nil && c.State.Alive():
		return errdefs.ErrPermissionDenied.WithMessage(fmt.Sprintf("endpoint with name %s already exists in network %s", c.Name, name))
	}
	return nil
}

// notOn says that a container cannot leave a network. Clients that take it off what it may not be on look for just these words,
// which depend on whether it runs.
func notOn(c *container.Container, network string) error {
	if !c.State.Alive() {
		network = "the network " + network
	} else {
		network = "network " + network
	}
	return errdefs.ErrPermissionDenied.WithMessage("container " + c.ID + " is not connected to " + network)
}

// Disconnect takes a container off a network: at once when it runs, and for its next starts. A network that is gone is
// left all the same by a container that does not run.
func (d *Conductor) Disconnect(ctx context.Context, networkRef, containerRef string, force bool) error {
	c, release, err := d.hold(ctx, containerRef)
	if err != nil {
		return err
	}
	defer release()
	ctx = context.WithoutCancel(ctx)
	n, err := d.Networks.Inspect(networkRef)
	switch {
	case errdefs.IsNotFound(err) && c.Wished[networkRef] != nil && !c.State.Alive():
		n.Name = networkRef
	case errdefs.IsNotFound(err) && !c.State.Alive():
		return notOn(c, networkRef)
	case err != nil:
		return err
	}
	if c.HostConfig.NetworkMode.IsHost() || n.Name == nt.NetworkHost {
		return errdefs.ErrPermissionDenied.WithMessage("container cannot be disconnected from host network or connected to host network")
	}
	if c.Wished[n.Name] == nil {
		return notOn(c, n.Name)
	}
	next := *c
	next.Wished = maps.Clone(c.Wished)
	delete(next.Wished, n.Name)
	leave := func(req network.Request) (*network.Sandbox, error) {
		req.Force = force
		return d.Networks.Disconnect(ctx, c.ID, n.Name, req)
	}
	connect := func(req network.Request) (*network.Sandbox, error) { return d.Networks.Connect(ctx, c.ID, n.Name, req) }
	err = d.change(ctx, c, &next, leave, connect)
	if err != nil {
		return err
	}
	d.tell(c, n, et.ActionDisconnect)
	return nil
}

// deed changes the network of a container that runs.
type deed func(network.Request) (*network.Sandbox, error)

// change does the deed where the container runs, and records what it is like now: next's wishes, and how they were met.
// What cannot be recorded is undone; what was done and recorded stays where the rest fails.
func (d *Conductor) change(ctx context.Context, before, next *container.Container, do, undo deed) error {
	box := &network.Sandbox{}
	defer func() { box.Close() }()
	var ns *os.File
	if next.State.Alive() {
		var err error
		if ns, err = os.Open(filepath.Join("/proc", strconv.Itoa(next.State.Pid), "ns/net")); err != nil {
			return fmt.Errorf("open the container's network namespace: %w", err)
		}
		defer ns.Close()
		req := d.Run.NetworkRequest(next)
		req.NetNS = ns
		done, err := do(req)
		if err != nil {
			return err
		}
		box = done
	}
	now, err := d.Containers.Change(next.ID, func(c *container.Container) error {
		c.Wished = next.Wished
		if next.State.Alive() {
			c.Networks, c.Ports = box.Endpoints, box.Ports
		} else {
			c.Networks = next.Wished
		}
		return nil
	})
	if err != nil && next.State.Alive() {
		req := d.Run.NetworkRequest(before)
		req.NetNS = ns
		again, undone := undo(req)
		if undone == nil {
			defer again.Close()
		}
		return withUndone(err, undone)
	}
	if err != nil || !next.State.Alive() {
		return err
	}
	if box.Names != nil {
		if err := d.Run.KeepNames(ctx, next.ID, box.Names); err != nil {
			return fmt.Errorf("keep the container's name server: %w", err)
		}
	}
	return d.Run.WriteNames(now, box)
}

// withUndone is why something could not be recorded, and, where that went wrong too, undone.
func withUndone(err, undone error) error {
	if undone != nil {
		return fmt.Errorf("%w (and it could not be undone: %v)", err, undone)
	}
	return err
}

// tell publishes the event of a running container's change, as Docker does.
func (d *Conductor) tell(c *container.Container, n nt.Inspect, action et.Action) {
	if !c.State.Alive() {
		return
	}
	d.Tell(et.Message{Type: et.NetworkEventType, Action: action, Actor: et.Actor{
		ID: n.ID, Attributes: map[string]string{"container": c.ID, "name": n.Name, "type": n.Driver},
	}})
}
