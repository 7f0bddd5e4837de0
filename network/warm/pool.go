// Package warm keeps things ready that take a while to make: network namespaces that are on their network already.
package warm

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/network/ipam"
)

const (
	// quiet is how long nobody must have asked before the pool is filled up: until then the
	// processor belongs to the containers being started.
	quiet = 30 * time.Millisecond
	// calm is how long nobody must have asked before a pool that had grown shrinks again.
	calm = time.Minute
	// mostWarm bounds what a pool grows to.
	mostWarm = 32
)

// Thing is what is made ahead.
type Thing interface {
	// Addresses are those it has; the zero value where it has none.
	Addresses() ipam.Pair
}

// Pool keeps things ready. Its goroutine ends with Close.
type Pool[T Thing] struct {
	log  *slog.Logger
	make func(want ipam.Pair) (T, error)
	drop func(T)
	wake chan struct{}
	stop chan struct{}
	done chan struct{}

	making sync.Mutex // held while one is made ahead; taken before mu

	mu    sync.Mutex
	least int // what it is filled to when nothing happens
	want  int // what it is filled to now
	ready []T
}

// New keeps size things ready, made by build from after so long on; drop lets go of one that nobody got.
func New[T Thing](log *slog.Logger, size int, after time.Duration, build func(want ipam.Pair) (T, error), drop func(T)) *Pool[T] {
	p := &Pool[T]{
		log: log, make: build, drop: drop, least: size, want: size,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go p.run(after)
	return p
}

// Take gives a thing that is ready, with the addresses wanted or, where that is the zero value, any; or makes one while
// the caller waits. When there was none the pool grows for the next time.
func (p *Pool[T]) Take(want ipam.Pair) (T, error) {
	// Not before: what comes first in order is for who waits.
	defer p.poke()
	if r, ok := p.first(want); ok {
		return r, nil
	}
	return p.make(want)
}

func (p *Pool[T]) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// first takes out what is ready; without an address in particular, what has been so for longest.
func (p *Pool[T]) first(want ipam.Pair) (r T, ok bool) {
	if want.IsValid() {
		return p.Find(want)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ready) == 0 {
		if p.least > 0 {
			p.want = min(p.want*2, mostWarm)
		}
		return r, false
	}
	r = p.ready[0]
	p.ready = p.ready[1:]
	return r, true
}

// Find takes out the thing that is ready, or being made, with these addresses, or any.
func (p *Pool[T]) Find(want ipam.Pair) (r T, ok bool) {
	return p.pick(func(has ipam.Pair) bool { return has.Meets(want) })
}

func (p *Pool[T]) pick(fits func(ipam.Pair) bool) (r T, ok bool) {
	p.making.Lock()
	defer p.making.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.IndexFunc(p.ready, func(r T) bool { return fits(r.Addresses()) })
	if at < 0 {
		return r, false
	}
	r = p.ready[at]
	p.ready = slices.Delete(slices.Clone(p.ready), at, at+1)
	return r, true
}

// Yield takes out one that has an address that is wanted, though not all of those.
func (p *Pool[T]) Yield(want ipam.Pair) (r T, ok bool) {
	return p.pick(func(has ipam.Pair) bool { return has.Shares(want) })
}

// Ready are those that are ready, once the one that is being made ahead is finished.
func (p *Pool[T]) Ready() []T {
	p.making.Lock()
	defer p.making.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.ready)
}

// run fills the pool: at once when it is nearly empty, else when it has been left alone for a moment.
func (p *Pool[T]) run(after time.Duration) {
	defer close(p.done)
	timer := time.NewTimer(after)
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

// step makes one thing, or takes a pool that had grown a step back. It tells when to come again, negative for
// not before the pool is used.
func (p *Pool[T]) step() time.Duration {
	p.mu.Lock()
	missing := p.want - len(p.ready)
	p.mu.Unlock()
	if missing <= 0 {
		return p.shrink()
	}
	p.making.Lock()
	defer p.making.Unlock()
	r, err := p.make(ipam.Pair{})
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

func (p *Pool[T]) shrink() time.Duration {
	p.mu.Lock()
	p.want = max(p.least, p.want/2)
	var extra []T
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

// Close ends the pool and drops what is ready.
func (p *Pool[T]) Close() {
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
