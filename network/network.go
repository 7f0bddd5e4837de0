// Package network gives containers their network namespaces: addresses on the default bridge, published ports, and
// the files that name hosts.
package network

import (
	"context"
	"log/slog"
	"net/netip"
	"os"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/state"
)

// Pool is a range that networks without a subnet of their own take one from.
type Pool struct {
	Base netip.Prefix
	// Size is the prefix length of the subnets cut from Base.
	Size int
}

// Config is how an instance's networks are set up. The zero value is the default instance's.
type Config struct {
	// Mark tells this instance's names on the host from those of others; empty for the default instance.
	Mark string
	// Bridge is the name of the default bridge; empty for one made from the mark, "none" for no default network.
	Bridge string
	// BIP is the bridge's address and subnet; the zero value picks one from Pools.
	BIP netip.Prefix
	// Pools are the ranges to pick from; nil for Docker's.
	Pools []Pool
	// MTU of the containers' devices; 0 takes the host's.
	MTU int
	// HostIP is where ports are published that name no host address; the zero value is 0.0.0.0.
	HostIP netip.Addr
	// HostGateway is what "host-gateway" means in extra hosts; the zero value is the bridge's address.
	HostGateway netip.Addr
	// Warm is how many namespaces are kept ready; 0 for the default, negative for none.
	Warm int
	// Log takes what goes wrong where nobody waits for an answer; nil for slog.Default.
	Log *slog.Logger
}

// Keeper owns the networks of one instance. It is safe for concurrent use.
type Keeper struct{}

// Open sets up the default bridge and the instance's firewall table, and begins to make namespaces ahead.
func Open(cfg Config, db *state.DB) (*Keeper, error) { return nil, errdefs.ErrNotImplemented }

// Close stops making namespaces. Containers keep their network; without any, the bridge and the table are removed.
func (k *Keeper) Close() error { return nil }

// Request is what a container asks of its network.
type Request struct {
	// Mode is the container's network mode: "", "default", "bridge", "host", "none" or "container:ID".
	Mode string
	// Name is the container's name, for messages and for the network's list of containers.
	Name string
	// Networks are the wished endpoints by network name.
	Networks             map[string]*nt.EndpointSettings
	Hostname, Domainname string
	// Ports are the wished published ports; Exposed with PublishAll are published on free ports of the host.
	Ports      nt.PortMap
	Exposed    nt.PortSet
	PublishAll bool
	// NetNS is the namespace of the other container for mode "container:ID"; it is handed back in the sandbox.
	NetNS *os.File
}

// Sandbox is a container's network, ready for its first process.
type Sandbox struct {
	ID string
	// NetNS is the namespace to join, nil for the host's own. The caller closes it once the process is in it.
	NetNS *os.File
	// Endpoints are the container's endpoints by network name, filled in.
	Endpoints map[string]*nt.EndpointSettings
	// Ports as inspect shows them: published ones with the host ports chosen, exposed ones without bindings.
	Ports nt.PortMap
	// Warnings are for the user.
	Warnings []string
}

// Join gives the container its network. It fails with errdefs.ErrConflict, or errdefs.ErrUnknown as Docker does, when a port is taken.
func (k *Keeper) Join(ctx context.Context, containerID string, req Request) (*Sandbox, error) {
	return nil, errdefs.ErrNotImplemented
}

// Leave takes the container off its networks. It returns at once and may be called again.
func (k *Keeper) Leave(containerID string) error { return errdefs.ErrNotImplemented }

// Restore takes up a container that kept running while the daemon was away.
func (k *Keeper) Restore(containerID, name string, endpoints map[string]*nt.EndpointSettings, ports nt.PortMap) error {
	return errdefs.ErrNotImplemented
}

// Sweep removes what containers left behind that were not restored. Call it once, after the last Restore.
func (k *Keeper) Sweep() error { return errdefs.ErrNotImplemented }

// Validate checks what can be checked of a request before a container is made.
func (k *Keeper) Validate(req Request) error { return errdefs.ErrNotImplemented }

// HostGateway is what the name host-gateway stands for in extra hosts.
func (k *Keeper) HostGateway() netip.Addr { return netip.Addr{} }

// List returns the networks that the filters let through.
func (k *Keeper) List(filters api.Filters) ([]nt.Inspect, error) { return nil, errdefs.ErrNotImplemented }

// Inspect finds a network by name, ID or the beginning of its ID.
func (k *Keeper) Inspect(ref string) (nt.Inspect, error) { return nt.Inspect{}, errdefs.ErrNotImplemented }

// Create makes a user's network.
func (k *Keeper) Create(ctx context.Context, req nt.CreateRequest) (nt.CreateResponse, error) {
	return nt.CreateResponse{}, errdefs.ErrNotImplemented
}

// Remove removes a user's network.
func (k *Keeper) Remove(ctx context.Context, ref string) error { return errdefs.ErrNotImplemented }

// Prune removes the users' networks that no container is on.
func (k *Keeper) Prune(ctx context.Context, filters api.Filters) (nt.PruneReport, error) {
	return nt.PruneReport{}, errdefs.ErrNotImplemented
}

// HostsInput is what /etc/hosts of a container is made from.
type HostsInput struct {
	Hostname, Domainname string
	// Addresses are the container's own.
	Addresses []netip.Addr
	// Extra are lines of the user, "name:address" or "name:host-gateway".
	Extra []string
	// HostGateway stands for the word host-gateway.
	HostGateway netip.Addr
	// NoIPv6 leaves out the names of IPv6.
	NoIPv6 bool
}

// HostsFile is the text of /etc/hosts.
func HostsFile(in HostsInput) []byte { return nil }

// ResolvInput is what a user asked of name resolution.
type ResolvInput struct {
	Servers         []netip.Addr
	Search, Options []string
	// Host keeps the host's name servers also where they are on its loopback: the container is in the host's network.
	Host bool
}

// ResolvConf is the text of /etc/resolv.conf of a container whose host has the text host.
func ResolvConf(host []byte, in ResolvInput) []byte { return nil }

// HostResolvConf reads the host's resolv.conf, looking behind systemd-resolved's stub.
func HostResolvConf() ([]byte, error) { return nil, errdefs.ErrNotImplemented }
