package source

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
)

// turns lets those who want the same do it one after the other: the next one finds what the first has brought.
type turns struct {
	mu      sync.Mutex
	waiting map[digest.Digest]*turn
}

type turn struct {
	free chan struct{} // has one element while nobody has the turn
	want int
}

// take waits for the turn at something; the result gives it back.
func (t *turns) take(ctx context.Context, what digest.Digest) (end func(), err error) {
	t.mu.Lock()
	if t.waiting == nil {
		t.waiting = map[digest.Digest]*turn{}
	}
	one := t.waiting[what]
	if one == nil {
		one = &turn{free: make(chan struct{}, 1)}
		one.free <- struct{}{}
		t.waiting[what] = one
	}
	one.want++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.want--; one.want == 0 {
			delete(t.waiting, what)
		}
	}
	select {
	case <-one.free:
		return func() {
			one.free <- struct{}{}
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}
