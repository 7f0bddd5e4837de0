package network

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/network/bridge"
)

const (
	// quiet is how long nobody must have asked for a namespace before the pool is filled up: until then the
	// processor belongs to the containers being started.
	quiet = 30 * time.Millisecond
	// calm is how long nobody must have asked before a pool that had grown shrinks again.
	calm = time.Minute
	// mostWarm bounds what a pool grows to.
	mostWarm = 32
)

// ready is a namespace made ahead; port is the zero value for one without a network, names nil for one whose container
// finds nobody by name.
type ready struct {
	ns    *bridge.Namespace
	lan   *lan
	port  bridge.Port
	names *Sockets
}

// close lets go of the namespace.
func (r *ready) close() {
	if r.names != nil {
		r.names.Close()
	}
	r.ns.Close()
}

// pool keeps namespaces ready. Its goroutine ends with close.
type pool struct {
	log  *slog.Logger
	make func(want netip.Addr) (*ready, error)
	drop func(*ready)
	wake chan struct{}
	stop chan struct{}
	done chan struct{}

	making sync.Mutex // held while one is made ahead; taken before mu

	mu    sync.Mutex
	least int // what it is filled to when nothing happens
	want  int // what it is filled to now
	ready []*ready
}

func newPool(log *slog.Logger, size int, build func(want netip.Addr) (*ready, error), drop func(*ready)) *pool {
	p := &pool{
		log: log, make: build, drop: drop, least: size, want: size,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go p.run()
	return p
}

// take gives a namespace that is ready, with the address wanted or, where that is the zero value, any; or makes one while
// the caller waits. When there was none the pool grows for the next time.
func (p *pool) take(want netip.Addr) (*ready, error) {
	r := p.first(want)
	select {
	case p.wake <- struct{}{}:
	default:
	}
	if r != nil {
		return r, nil
	}
	return p.make(want)
}

// first takes out what is ready; without an address in particular, what has been so for longest.
func (p *pool) first(want netip.Addr) *ready {
	if want.IsValid() {
		return p.find(want)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ready) == 0 {
		if p.least > 0 {
			p.want = min(p.want*2, mostWarm)
		}
		return nil
	}
	r := p.ready[0]
	p.ready = p.ready[1:]
	return r
}

// find takes out the namespace that is ready, or being made, with this address, or any; nil where there is none.
func (p *pool) find(address netip.Addr) *ready {
	p.making.Lock()
	defer p.making.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.IndexFunc(p.ready, func(r *ready) bool { return !address.IsValid() || r.port.Address.Addr() == address })
	if at < 0 {
		return nil
	}
	r := p.ready[at]
	p.ready = slices.Delete(slices.Clone(p.ready), at, at+1)
	return r
}

// run fills the pool: at once when it is nearly empty, else when it has been left alone for a moment.
func (p *pool) run() {
	defer close(p.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-p.wake:
			p.mu.Lock()
			plenty := len(p.ready)*3 >= p.want
			p.mu.Unlock()
			if plenty {
				timer.Reset(quiet)
				continue
			}
		case <-timer.C:
		}
		if next := p.step(); next >= 0 {
			timer.Reset(next)
		}
	}
}

// step makes one namespace, or takes a pool that had grown a step back. It tells when to come again, negative for
// not before the pool is used.
func (p *pool) step() time.Duration {
	p.mu.Lock()
	missing := p.want - len(p.ready)
	p.mu.Unlock()
	if missing <= 0 {
		return p.shrink()
	}
	p.making.Lock()
	defer p.making.Unlock()
	r, err := p.make(netip.Addr{})
	if errdefs.IsResourceExhausted(err) {
		return -1 // all addresses are in use: there is none for the next who comes either
	}
	if err != nil {
		p.log.Warn("make network namespace ahead", "err", err)
		return time.Second
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = append(p.ready, r)
	if len(p.ready) < p.want {
		return 0
	}
	return calm
}

func (p *pool) shrink() time.Duration {
	p.mu.Lock()
	p.want = max(p.least, p.want/2)
	var extra []*ready
	if n := len(p.ready); n > p.want {
		extra = p.ready[p.want:]
		p.ready = p.ready[:p.want:p.want]
	}
	again := p.want > p.least
	p.mu.Unlock()
	for _, r := range extra {
		p.drop(r)
	}
	if again {
		return calm
	}
	return -1
}

// close ends the pool and drops what is ready.
func (p *pool) close() {
	close(p.stop)
	<-p.done
	p.mu.Lock()
	left := p.ready
	p.ready = nil
	p.mu.Unlock()
	for _, r := range left {
		p.drop(r)
	}
}
