package solve

import (
	"context"
	"errors"
)

// flight is a step that runs, for all who want an outcome of its key.
type flight[R, M any] struct {
	crowd   Crowd[M]
	waiting int  // guarded by the solver's lock
	left    bool // somebody went away before the end; as above
	cancel  context.CancelFunc
	done    chan struct{}
	out     Outcome[R]
	err     error
}

// share gives the outcome of key: that of the flight under way, or of a new one that calls run. A nil run joins only; ok
// tells whether there was something to join.
func (s *Solver[R, M]) share(ctx context.Context, key string, member M, run func(context.Context, *Crowd[M]) (Outcome[R], error)) (out Outcome[R], ok bool, err error) {
	for {
		f, seat := s.board(ctx, key, member, run)
		if f == nil {
			return out, false, nil
		}
		select {
		case <-f.done:
		case <-ctx.Done():
		}
		again := false
		s.mu.Lock()
		select {
		case <-f.done:
			out, err = f.out, f.err
			// What failed may have been the one who left: his secret, his files. Whoever stays tries with his own.
			again = err != nil && (f.left || errors.Is(err, context.Canceled)) && ctx.Err() == nil
		default:
			err, f.left = ctx.Err(), true
		}
		f.waiting--
		last := f.waiting == 0
		s.mu.Unlock()
		if err == nil {
			s.cache.Take(member, out)
		}
		f.crowd.leave(seat)
		if last {
			f.cancel()
			<-f.done
			if f.out.Done != nil {
				f.out.Done()
			}
		}
		if !again {
			return out, true, err
		}
	}
}

// board finds the flight of key, or starts it. One that everybody has left is waited for first. The step never meets a crowd of
// nobody: what it needs of those who wait, it may need at once.
func (s *Solver[R, M]) board(ctx context.Context, key string, member M, run func(context.Context, *Crowd[M]) (Outcome[R], error)) (*flight[R, M], *M) {
	for {
		s.mu.Lock()
		f, ok := s.flights[key]
		switch {
		case ok && f.waiting > 0:
			f.waiting++
			seat, hear := f.crowd.join(member)
			s.mu.Unlock()
			hear()
			return f, seat
		case ok:
			s.mu.Unlock()
			<-f.done
			continue
		case run == nil:
			s.mu.Unlock()
			return nil, nil
		}
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight[R, M]{waiting: 1, cancel: cancel, done: make(chan struct{})}
		s.flights[key] = f
		seat, hear := f.crowd.join(member)
		s.mu.Unlock()
		hear()
		go s.fly(own, key, f, run)
		return f, seat
	}
}

// fly runs the step. It is off the table before anybody learns of its end, so that who comes later asks the cache.
func (s *Solver[R, M]) fly(ctx context.Context, key string, f *flight[R, M], run func(context.Context, *Crowd[M]) (Outcome[R], error)) {
	out, err := guarded(func() (Outcome[R], error) { return run(ctx, &f.crowd) })
	s.mu.Lock()
	delete(s.flights, key)
	f.out, f.err = out, err
	close(f.done)
	s.mu.Unlock()
}
