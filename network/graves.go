package network

import (
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
)

const (
	// look is how often it is looked whether a device is gone: the kernel needs 20 to 40 ms for a namespace.
	look = 25 * time.Millisecond
	// patience is how long a device may outlive its container before it is removed.
	patience = 2 * time.Second
)

// grave is a device whose container has left. It goes with its namespace; its addresses on lan are free afterwards.
type grave struct {
	veth  string
	index int // of the device: a later one may have its name
	// ns is where the device is that has no end on the host: it is removed there, for who has the namespace open may keep it so.
	ns        *os.File
	lan       *lan
	addresses ipam.Pair
	// forget tells to drop the connections of the addresses: at once, so that a client of a port that was published
	// does not go on talking to nobody, and again when nothing can make new ones.
	forget bool
	since  time.Time
	seen   bool
}

// graves watches devices go. Its goroutine ends with close.
type graves struct {
	log    *slog.Logger
	buried func(grave)
	wake   chan struct{}
	done   chan struct{}

	burial sync.Mutex // held by who looks after graves; taken before mu

	mu     sync.Mutex
	open   []grave
	closed bool
}

func newGraves(log *slog.Logger, buried func(grave)) *graves {
	g := &graves{log: log, buried: buried, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go g.run()
	return g
}

func (g *graves) add(one grave) {
	one.since, one.index = time.Now(), bridge.Index(one.veth)
	g.mu.Lock()
	g.open = append(g.open, one)
	g.mu.Unlock()
	g.poke()
}

func (g *graves) poke() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *graves) run() {
	defer close(g.done)
	for {
		left, closed := g.round()
		switch {
		case left > 0:
			time.Sleep(look)
		case closed:
			return
		default:
			<-g.wake
		}
	}
}

// round buries what is gone and tells how many are left.
func (g *graves) round() (left int, closed bool) {
	g.burial.Lock()
	defer g.burial.Unlock()
	g.mu.Lock()
	open := g.open
	g.open = nil
	closed = g.closed
	g.mu.Unlock()
	var still []grave
	for _, one := range open {
		g.removeInside(&one)
		if one.forget && !one.seen {
			g.forgetFlows(one)
		}
		one.seen = true
		if one.open() && time.Since(one.since) > patience {
			if err := bridge.RemoveIndex(one.index); err != nil {
				g.log.Warn("remove network device", "device", one.veth, "err", err)
				one.since = time.Now() // and again after as long
			}
		}
		if one.open() {
			still = append(still, one)
			continue
		}
		if one.forget {
			g.forgetFlows(one)
		}
		g.buried(one)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = append(still, g.open...)
	return len(g.open), closed
}

// removeInside removes a device that is in a namespace alone.
func (g *graves) removeInside(one *grave) {
	if one.ns == nil {
		return
	}
	ns, err := bridge.EnterNamespace(one.ns)
	if err == nil {
		err = ns.RemoveDevice(one.addresses.All())
		ns.Seal()
	}
	if err != nil {
		g.log.Warn("remove network device", "addresses", one.addresses.All(), "err", err)
	}
	one.ns.Close()
	one.ns = nil
}

// open tells whether the device is still there.
func (one grave) open() bool { return one.index > 0 && bridge.Index(one.veth) == one.index }

func (g *graves) forgetFlows(one grave) {
	for _, address := range one.addresses.All() {
		if err := bridge.ForgetFlows(address); err != nil {
			g.log.Warn("forget connections", "address", address, "err", err)
		}
	}
}

// hasten removes the devices with these addresses on l now, for a container that comes back and is to have them again. It
// waits for the kernel, so it is for who cannot have others.
func (g *graves) hasten(l *lan, addresses ipam.Pair) {
	g.burial.Lock()
	defer g.burial.Unlock()
	for range addresses.All() { // each may be another's
		g.hastenOne(func(one grave) bool { return one.lan == l && one.addresses.Shares(addresses) })
	}
}

// relieve removes the device that has been going for longest on l, for who finds no address free there; false where none is.
func (g *graves) relieve(l *lan) bool {
	g.burial.Lock()
	defer g.burial.Unlock()
	return g.hastenOne(func(one grave) bool { return one.lan == l })
}

// hastenOne buries the first of those that are asked for, and tells whether there was one.
func (g *graves) hastenOne(which func(grave) bool) bool {
	g.mu.Lock()
	at := slices.IndexFunc(g.open, which)
	if at < 0 {
		g.mu.Unlock()
		return false
	}
	one := g.open[at]
	g.open = slices.Delete(g.open, at, at+1)
	g.mu.Unlock()
	g.removeInside(&one)
	if one.open() {
		if err := bridge.RemoveIndex(one.index); err != nil {
			g.log.Warn("remove network device", "device", one.veth, "err", err)
			g.add(one)
			return false
		}
	}
	if one.forget {
		g.forgetFlows(one)
	}
	g.buried(one)
	return true
}

// close waits until everything is buried.
func (g *graves) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.poke()
	<-g.done
}
