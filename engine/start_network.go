package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/network"
)

// NetworkRequest is what the container asks of its networks.
func (e *Engine) NetworkRequest(c *container.Container) network.Request {
	h := c.HostConfig
	r := network.Request{
		Mode: string(h.NetworkMode), Name: c.Name, Networks: c.Wished,
		Hostname: c.Config.Hostname, Domainname: c.Config.Domainname,
		Ports: h.PortBindings, Exposed: c.Config.ExposedPorts, PublishAll: h.PublishAllPorts, Annotations: h.Annotations,
		Resolv: e.etc.ResolvOf(c), Linked: e.etc.Kin(c), NoIPv6: e.etc.NoIPv6(c),
	}
	if c.Config.NetworkDisabled {
		r.Mode, r.Networks = nt.NetworkNone, nil
	}
	return r
}

// join gives the container its network, and the user namespace that this belongs to.
func (e *Engine) join(ctx context.Context, c *container.Container) (box sandbox, err error) {
	if box.namespaces, err = e.openNamespaces(c); err != nil {
		return sandbox{}, err
	}
	defer func() {
		if err != nil {
			box.namespaces.Close()
		}
	}()
	request := e.NetworkRequest(c)
	request.Own = box.namespaces.Network
	if c.HostConfig.NetworkMode.IsContainer() {
		other, err := e.neighbour(c, c.HostConfig.NetworkMode.ConnectedContainer(), "network")
		if err != nil {
			return box, err
		}
		ns, err := os.Open(namespace(other, "net"))
		if err != nil {
			return box, fmt.Errorf("open network namespace of %s: %w", other.Name, err)
		}
		request.NetNS = ns
	}
	box.Sandbox, err = e.networks.Join(ctx, c.ID, request)
	return box, err
}

// What a supervisor keeps open of a container's network, by name.
const (
	keptUDP = "names-udp"
	keptTCP = "names-tcp"
)

// keepNames has the supervisor keep the sockets of the container's name server open, for the time without a daemon.
func keepNames(ctx context.Context, sup supervisor, names *network.Sockets) error {
	if names == nil {
		return nil
	}
	if err := sup.Keep(ctx, keptUDP, names.UDP); err != nil {
		return err
	}
	return sup.Keep(ctx, keptTCP, names.TCP)
}

// KeepNames is keepNames for a container that runs.
func (e *Engine) KeepNames(ctx context.Context, containerID string, names *network.Sockets) error {
	r := e.runs.live(containerID)
	if r == nil {
		return notRunning(containerID)
	}
	return keepNames(ctx, r.sup, names)
}

// WriteNames writes the files by which the container finds itself and others.
func (e *Engine) WriteNames(c *container.Container, box *network.Sandbox) error {
	return e.etc.Write(c, box.Endpoints, box.Named)
}

// restoreNetwork takes up the network of a container that ran while there was no daemon; sup is nil where its supervisor
// has not answered yet.
func (e *Engine) restoreNetwork(ctx context.Context, c *container.Container, sup supervisor) {
	was := network.Sandbox{ID: c.SandboxID, Endpoints: c.Networks, Ports: c.Ports}
	defer func() { was.Close() }()
	if sup != nil {
		udp, err := sup.Kept(ctx, keptUDP)
		if err == nil {
			was.Names = &network.Sockets{UDP: udp}
			was.Names.TCP, err = sup.Kept(ctx, keptTCP)
		}
		if err == nil {
			was.NetNS, err = os.Open(filepath.Join("/proc", strconv.Itoa(sup.Pid()), "ns/net"))
		}
		if err != nil && !errdefs.IsNotFound(err) {
			e.log_.Error("could not take up a container's name server", "container", c.ID, "error", err)
		}
	}
	if err := e.networks.Restore(c.ID, was, e.NetworkRequest(c)); err != nil {
		e.log_.Error("could not take up a container's network", "container", c.ID, "error", err)
	}
}
