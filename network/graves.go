package network

import (
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
	"github.com/cove-containers/cove/network/publish"
)

const (
	// look is how often it is looked whether a device is gone: the kernel needs 20 to 40 ms for a namespace.
	look = 25 * time.Millisecond
	// patience is how long a device may outlive its container before it is removed.
	patience = 2 * time.Second
	// gather is how long the connections of a container that has left may be remembered: to have the kernel forget some it must be
	// asked for all, for which it goes through a table that takes it 10 ms on ordinary hosts, so one question is for many containers.
	gather = time.Second
)

// grave is a device whose container has left. It goes with its namespace; its addresses on lan are free afterwards.
type grave struct {
	veth  string
	index int // of the device: a later one may have its name
	// ns is where the device is that has no end on the host: it is removed there, for who has the namespace open may keep it so.
	ns        *os.File
	lan       *lan
	addresses ipam.Pair
	// forget tells to drop the connections of the addresses when nothing can make new ones: nobody who has the addresses next
	// shall meet them.
	forget bool
	since  time.Time
	gone   time.Time // when the device was seen to be
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
	served []publish.Binding // since a moment ago
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

// serve is told of ports that are published now. Whoever has been asking one in vain by UDP, or has been led to where it led before, would
// go on to be, for the kernel remembers where it has sent them.
func (g *graves) serve(published []publish.Binding) {
	var udp []publish.Binding
	for _, b := range published {
		if b.Inside.Proto() == nt.UDP {
			udp = append(udp, b)
		}
	}
	if len(udp) == 0 {
		return
	}
	g.mu.Lock()
	g.served = append(g.served, udp...)
	g.mu.Unlock()
	g.poke()
}

func (g *graves) run() {
	defer close(g.done)
	for {
		again, closed := g.round()
		switch {
		case again > 0:
			timer := time.NewTimer(again)
			select {
			case <-timer.C:
			case <-g.wake:
				timer.Stop()
			}
		case closed:
			return
		default:
			<-g.wake
		}
	}
}

// round buries what is gone and tells when there is more to do, 0 for not before it is woken.
func (g *graves) round() (again time.Duration, closed bool) {
	g.burial.Lock()
	defer g.burial.Unlock()
	g.mu.Lock()
	open, served := g.open, g.served
	g.open, g.served = nil, nil
	closed = g.closed
	g.mu.Unlock()
	var still, gone []grave
	due := closed || len(served) > 0 // the question is asked anyway
	for _, one := range open {
		g.removeInside(&one)
		if one.open() && time.Since(one.since) > patience {
			if err := bridge.RemoveIndex(one.index); err != nil {
				g.log.Warn("remove network device", "device", one.veth, "err", err)
				one.since = time.Now() // and again after as long
			}
		}
		switch {
		case one.open():
			still = append(still, one)
			continue
		case !one.forget:
			g.buried(one)
			continue
		case one.gone.IsZero():
			one.gone = time.Now()
		}
		gone = append(gone, one)
		due = due || time.Since(one.gone) >= gather
	}
	if due {
		g.forgetFlows(served, gone...)
		for _, one := range gone {
			g.buried(one)
		}
		gone = nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = slices.Concat(still, gone, g.open)
	switch {
	case len(g.open) > len(gone):
		again = look
	case len(gone) > 0:
		again = gather
		for _, one := range gone {
			again = min(again, max(look, gather-time.Since(one.gone)))
		}
	}
	return again, closed
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

// forgetFlows drops the connections of containers that have left, and those by UDP to published ports that lead elsewhere.
func (g *graves) forgetFlows(served []publish.Binding, gone ...grave) {
	var old []netip.Addr
	for _, one := range gone {
		old = append(old, one.addresses.All()...)
	}
	if err := bridge.ForgetFlows(old, publish.Led(served)); err != nil {
		g.log.Warn("forget connections", "addresses", old, "err", err)
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
		g.forgetFlows(nil, one)
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
