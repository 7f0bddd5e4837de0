package engine

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	et "github.com/moby/moby/api/types/events"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/network"
)

// networkRequest is what the container asks of its network.
func (e *Engine) networkRequest(c *container.Container) network.Request {
	h := c.HostConfig
	r := network.Request{
		Mode: string(h.NetworkMode), Name: c.Name, Networks: c.Wished,
		Hostname: c.Config.Hostname, Domainname: c.Config.Domainname,
		Ports: h.PortBindings, Exposed: c.Config.ExposedPorts, PublishAll: h.PublishAllPorts,
	}
	if c.Config.NetworkDisabled {
		r.Mode = nt.NetworkNone
	}
	return r
}

// join gives the container its network.
func (e *Engine) join(ctx context.Context, c *container.Container) (*network.Sandbox, error) {
	request := e.networkRequest(c)
	if c.HostConfig.NetworkMode.IsContainer() {
		other, err := e.neighbour(c, c.HostConfig.NetworkMode.ConnectedContainer(), "network")
		if err != nil {
			return nil, err
		}
		ns, err := os.Open(namespace(other, "net"))
		if err != nil {
			return nil, fmt.Errorf("open network namespace of %s: %w", other.Name, err)
		}
		request.NetNS = ns
	}
	return e.networks.Join(ctx, c.ID, request)
}

// files are the host paths of what the engine mounts into /etc.
type files struct{ hosts, resolvConf, hostname string }

// files are the container's own, or those of the container whose network it shares.
func (e *Engine) files(c *container.Container) files {
	dir := c.Dir(e.parts.Config.Root)
	if c.HostConfig.NetworkMode.IsContainer() {
		if other, err := e.containers.Get(c.HostConfig.NetworkMode.ConnectedContainer()); err == nil {
			dir = other.Dir(e.parts.Config.Root)
		}
	}
	return files{filepath.Join(dir, "hosts"), filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hostname")}
}

// writeFiles makes the files that tell the container its name and how to find others.
func (e *Engine) writeFiles(c *container.Container, sandbox *network.Sandbox) error {
	if c.HostConfig.NetworkMode.IsContainer() {
		return nil
	}
	at := e.files(c)
	if err := os.MkdirAll(filepath.Dir(at.hosts), 0o710); err != nil {
		return fmt.Errorf("create container folder: %w", err)
	}
	hosts, err := e.hostsFile(c, sandbox)
	if err != nil {
		return err
	}
	resolv, err := e.resolvConf(c)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		path string
		text []byte
	}{{at.hosts, hosts}, {at.resolvConf, resolv}, {at.hostname, []byte(c.Config.Hostname + "\n")}} {
		if err := os.WriteFile(f.path, f.text, 0o644); err != nil {
			return fmt.Errorf("write %s of container: %w", filepath.Base(f.path), err)
		}
	}
	return nil
}

// hostsFile is /etc/hosts: generated, or in the host's network the host's own with the user's lines after it.
func (e *Engine) hostsFile(c *container.Container, sandbox *network.Sandbox) ([]byte, error) {
	in := network.HostsInput{
		Hostname: c.Config.Hostname, Domainname: c.Config.Domainname,
		Extra: c.HostConfig.ExtraHosts, HostGateway: e.networks.HostGateway(),
	}
	if c.HostConfig.NetworkMode.IsHost() {
		return e.hostsOfHost(in)
	}
	linked, err := e.linked(c, true)
	if err != nil {
		return nil, err
	}
	in.Extra = append(linked, in.Extra...)
	for _, endpoint := range sandbox.Endpoints {
		for _, a := range []netip.Addr{endpoint.IPAddress, endpoint.GlobalIPv6Address} {
			if a.IsValid() {
				in.Addresses = append(in.Addresses, a)
			}
		}
	}
	return network.HostsFile(in), nil
}

// linked are the lines of /etc/hosts for --link: the alias, name and ID of each other container with its address.
// At start the others must run.
func (e *Engine) linked(c *container.Container, starting bool) ([]string, error) {
	var lines []string
	for _, link := range c.HostConfig.Links {
		ref, alias, aliased := strings.Cut(link, ":")
		if ref = strings.TrimPrefix(ref, "/"); !aliased {
			alias = ref
		}
		other, err := e.containers.Get(ref)
		switch {
		case err != nil:
			return nil, errdefs.ErrInvalidArgument.WithMessage("could not get container for " + ref + ": " + err.Error())
		case !starting:
			continue
		case !other.State.Alive():
			return nil, errdefs.ErrConflict.WithMessage("Cannot link to a non running container: /" + other.Name + " AS /" + c.Name + "/" + alias)
		}
		if endpoint := other.Networks[nt.NetworkBridge]; endpoint != nil && endpoint.IPAddress.IsValid() {
			for _, name := range []string{alias, other.ShortID(), other.Name} {
				lines = append(lines, name+":"+endpoint.IPAddress.String())
			}
		}
	}
	return lines, nil
}

func (e *Engine) hostsOfHost(in network.HostsInput) ([]byte, error) {
	text, err := os.ReadFile("/etc/hosts")
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("read the host's /etc/hosts: %w", err)
	}
	for _, extra := range in.Extra {
		name, address, _ := strings.Cut(extra, ":")
		address = strings.Trim(address, "[]")
		if address == "host-gateway" {
			address = "127.0.0.1"
		}
		text = fmt.Appendf(text, "%s\t%s\n", address, name)
	}
	return text, nil
}

// resolvConf is /etc/resolv.conf from the host's, the daemon's and the container's settings.
func (e *Engine) resolvConf(c *container.Container) ([]byte, error) {
	host, err := network.HostResolvConf()
	if err != nil {
		return nil, fmt.Errorf("read the host's resolv.conf: %w", err)
	}
	h, cfg := c.HostConfig, &e.parts.Config
	in := network.ResolvInput{Servers: h.DNS, Search: h.DNSSearch, Options: h.DNSOptions, Host: h.NetworkMode.IsHost()}
	if len(in.Servers) == 0 {
		in.Servers = cfg.DNS
	}
	if len(in.Search) == 0 {
		in.Search = cfg.DNSSearch
	}
	if len(in.Options) == 0 {
		in.Options = cfg.DNSOptions
	}
	return network.ResolvConf(host, in), nil
}

// leaveNetworks takes out of the record what a network gave for one run.
func leaveNetworks(c *container.Container) {
	endpoints, addresses := map[string]*nt.EndpointSettings{}, maps.Clone(c.LastAddresses)
	if addresses == nil {
		addresses = map[string]netip.Addr{}
	}
	for name, wish := range c.Wished {
		endpoint := wish.Copy()
		if last := c.Networks[name]; last != nil {
			endpoint.NetworkID, endpoint.DNSNames = last.NetworkID, last.DNSNames
			if last.IPAddress.IsValid() {
				addresses[name] = last.IPAddress
			}
		}
		endpoints[name] = endpoint
	}
	c.Networks, c.LastAddresses, c.Ports, c.SandboxID = endpoints, addresses, nil, ""
}

// networkEvents tells which networks a container joined or left.
func (e *Engine) networkEvents(c *container.Container, action et.Action) {
	for name, endpoint := range c.Networks {
		kind := name
		if kind != nt.NetworkHost && kind != nt.NetworkNone {
			kind = nt.NetworkBridge
		}
		if kind == nt.NetworkNone {
			kind = "null"
		}
		e.log(et.NetworkEventType, action, endpoint.NetworkID, map[string]string{"container": c.ID, "name": name, "type": kind})
	}
}
