// Package engine is a container's life and every deed that needs two keepers: create, start, exec, stop, remove,
// prune, events. One verb is one file; each reads as a recipe over the keepers. Nothing on disk is the engine's
// own; what it holds in memory is what cannot be held elsewhere: the supervisors of running containers, the
// commands running in them and the clients attached.
package engine

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/etc"
	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/engine/storage"
	"github.com/cove-containers/cove/engine/view"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/network"
	"github.com/cove-containers/cove/shim"
)

// Parts are the keepers an engine conducts, opened, and its settings.
type Parts struct {
	Containers *container.Store
	Images     *image.Store
	Layers     *layer.Store
	Networks   *network.Keeper
	Volumes    *storage.Keeper
	Shims      *shim.Keeper
	// Forwarding and Devices may be nil: no log goes elsewhere then, and no device is described.
	Forwarding forwarding
	Devices    devices
	Config     Config
	// Bus carries events; nil makes one.
	Bus *Bus
	// Log takes what goes wrong where nobody waits for an answer; nil is slog.Default.
	Log *slog.Logger
}

// Config is the part of the daemon's settings that decides over containers.
type Config = plan.Config

// OwnRuntime is the name of Cove's own runtime.
const OwnRuntime = "cove"

// Engine conducts the keepers. Its methods are safe for concurrent use.
type Engine struct {
	*view.View
	container.Checkpoints
	parts      Parts
	log_       *slog.Logger
	containers *container.Store
	images     images
	layers     layers
	networks   networks
	volumes    volumes
	shims      shims
	forwarding forwarding
	current    atomic.Pointer[Config] // of parts, as it is by now
	host       plan.Host
	etc        etc.Settings

	bus      *Bus
	runs     *runs
	commands *commands
	removals *container.Removals

	closing view.Lifetime
	close   sync.Once
	work    sync.WaitGroup
}

// New takes up where an earlier daemon left off: it reconnects to the supervisors of running containers, records
// what ended meanwhile, starts what restart policies ask for, and removes what was left half made.
func New(ctx context.Context, parts Parts) (*Engine, error) {
	e := assemble(parts)
	e.images, e.layers, e.networks, e.volumes = parts.Images, realLayers{parts.Layers}, parts.Networks, parts.Volumes
	e.shims, e.forwarding = realShims{parts.Shims}, parts.Forwarding
	if err := e.reconcile(ctx); err != nil {
		return nil, err
	}
	return e, nil
}

// assemble makes an engine without its keepers.
func assemble(parts Parts) *Engine {
	if parts.Log == nil {
		parts.Log = slog.Default()
	}
	if parts.Config.DefaultRuntime == "" {
		parts.Config.DefaultRuntime = OwnRuntime
	}
	if parts.Bus == nil {
		parts.Bus = NewBus()
	}
	e := &Engine{
		parts: parts, log_: parts.Log, containers: parts.Containers,
		bus: parts.Bus, runs: newRuns(), commands: newCommands(), removals: container.NewRemovals(),
		closing: make(view.Lifetime),
	}
	e.current.Store(&parts.Config)
	e.Checkpoints = container.Checkpoints{Store: parts.Containers, DataRoot: parts.Config.Root}
	e.host = e.describeHost()
	e.etc = etc.Settings{
		Containers: parts.Containers, Root: parts.Config.Root, HostGateways: func() []netip.Addr { return e.networks.HostGateways() },
		Resolv:   network.ResolvInput{Servers: parts.Config.DNS, Search: parts.Config.DNSSearch, Options: parts.Config.DNSOptions},
		Amending: new(sync.Mutex),
	}
	e.View = e.newView()
	return e
}

// Shutdown lets go of everything: containers go on under their supervisors, records are written.
func (e *Engine) Shutdown(ctx context.Context) error {
	e.close.Do(func() { close(e.closing) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.work.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	return e.containers.Close()
}

// Running tells whether any container has a process.
func (e *Engine) Running() bool {
	for _, c := range e.containers.List() {
		if c.State.Alive() {
			return true
		}
	}
	return false
}

// hold finds a container and makes the caller the only one acting on it until release.
func (e *Engine) hold(ctx context.Context, ref string) (c *container.Container, release func(), err error) {
	c, err = e.containers.Get(ref)
	if err != nil {
		return nil, nil, err
	}
	release, err = e.containers.Lock(ctx, c.ID)
	if err != nil {
		return nil, nil, err
	}
	if c, err = e.containers.Get(c.ID); err != nil {
		release()
		return nil, nil, err
	}
	return c, release, nil
}
