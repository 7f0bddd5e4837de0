package run

import (
	"context"
	"os"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network"
)

// lan is a step's network.
type lan struct {
	ns     *os.File // nil: the host's
	host   bool
	resolv network.ResolvInput
}

// networkMode is what the operation asks for, or else the client: "bridge", "host", "none" or the name of a network.
func networkMode(mode pb.NetMode, client string) string {
	switch {
	case mode == pb.NetMode_HOST:
		return nt.NetworkHost
	case mode == pb.NetMode_NONE:
		return nt.NetworkNone
	case client == "" || client == nt.NetworkDefault:
		return nt.NetworkBridge
	}
	return client
}

// join gives the box its network.
func (b *box) join(ctx context.Context, mode string) error {
	b.net.resolv = b.runner.parts.Config.Resolv
	if mode == nt.NetworkHost {
		b.net.host, b.net.resolv.Host = true, true
		return nil
	}
	if strings.HasPrefix(mode, "container:") {
		return invalid("network mode %q is not for builds: their steps join networks, not containers", mode)
	}
	sandbox, err := b.runner.parts.Networks.Join(ctx, b.id, network.Request{
		Mode: mode, Name: b.id, Hostname: b.hostname, Resolv: b.net.resolv, Own: b.namespaces.Network,
	})
	if err != nil {
		return err
	}
	b.push(func() error {
		sandbox.Close()
		return b.runner.parts.Networks.Leave(b.id)
	})
	if sandbox.NetNS == nil { // what entitles to it is its name
		return invalid("network mode %q is not for builds: the host's network is called %q", mode, nt.NetworkHost)
	}
	b.net.ns, b.net.resolv.Named = sandbox.NetNS, sandbox.Named
	return nil
}
