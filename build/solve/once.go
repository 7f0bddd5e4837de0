package solve

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/containerd/errdefs"
)

// once is a value that is made when somebody asks first. While it is made others wait for it; when all of them have gone
// making it ends, and the next to ask begins anew. An error of its own stays, too.
type once[T any] struct {
	mu  sync.Mutex
	now *attempt[T]
}

type attempt[T any] struct {
	waiting int // guarded by once.mu
	cancel  context.CancelFunc
	done    chan struct{}
	value   T
	err     error
	gone    bool // ended because nobody waited
}

func (o *once[T]) get(ctx context.Context, do func(context.Context) (T, error)) (T, error) {
	for {
		o.mu.Lock()
		a := o.now
		if a == nil || a.gone {
			a = o.start(ctx, do)
		}
		a.waiting++
		o.mu.Unlock()

		err := ctx.Err()
		if err == nil {
			select {
			case <-a.done:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		o.mu.Lock()
		a.waiting--
		last := a.waiting == 0 && err != nil
		o.mu.Unlock()
		if last {
			a.cancel()
			<-a.done
		}
		if err != nil {
			var none T
			return none, err
		}
		if a.gone {
			continue
		}
		return a.value, a.err
	}
}

// ready tells that there is a value.
func (o *once[T]) ready() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now == nil {
		return false
	}
	select {
	case <-o.now.done:
		return o.now.err == nil
	default:
		return false
	}
}

func (o *once[T]) start(ctx context.Context, do func(context.Context) (T, error)) *attempt[T] {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a := &attempt[T]{cancel: cancel, done: make(chan struct{})}
	o.now = a
	go func() {
		value, err := guarded(func() (T, error) { return do(own) })
		o.mu.Lock()
		a.value, a.err, a.gone = value, err, err != nil && own.Err() != nil
		o.mu.Unlock()
		cancel()
		close(a.done)
	}()
	return a
}

// guarded makes of a panic in a step that step's error: it shall end no other, nor the process.
func guarded[T any](do func() (T, error)) (value T, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			slog.Error("a step of a build panicked", "panic", cause, "stack", string(debug.Stack()))
			err = errdefs.ErrInternal.WithMessage("the daemon made a mistake, see its log")
		}
	}()
	return do()
}
