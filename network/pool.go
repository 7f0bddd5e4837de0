package network

import (
	"log/slog"
	"sync"
	"time"

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

// ready is a namespace made ahead; port is the zero value for one without a network.
type ready struct {
	ns   *bridge.Namespace
	port bridge.Port
}

// pool keeps namespaces ready. Its goroutine ends with close.
type pool struct {
	log  *slog.Logger
	make func() (*ready, error)
	drop func(*ready)
	wake chan struct{}
	stop chan struct{}
	done chan struct{}

	mu    sync.Mutex
	least int // what it is filled to when nothing happens
	want  int // what it is filled to now
	ready []*ready
}

func newPool(log *slog.Logger, size int, build func() (*ready, error), drop func(*ready)) *pool {
	p := &pool{
		log: log, make: build, drop: drop, least: size, want: size,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go p.run()
	return p
}

// take gives a namespace that is ready, or makes one while the caller waits; the pool grows for the next time.
func (p *pool) take() (*ready, error) {
	p.mu.Lock()
	var r *ready
	if n := len(p.ready); n > 0 {
		r = p.ready[0]
		p.ready = p.ready[1:]
	} else if p.least > 0 {
		p.want = min(p.want*2, mostWarm)
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	if r != nil {
		return r, nil
	}
	return p.make()
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
	r, err := p.make()
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
