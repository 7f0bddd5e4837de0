package repository

import (
	"context"
	"sync"
)

// sessions are the uploads that this process is writing. Between processes nothing keeps two from writing one upload at
// the same time: then the state that is written last stands, and as it names its own parts it is whole.
type sessions struct {
	mu   sync.Mutex
	busy map[string]*session
}

type session struct {
	interrupt func()
	done      chan struct{}
}

// take makes the caller the one who writes upload id, until he calls done. Who did until now is interrupted.
func (s *sessions) take(ctx context.Context, id string, interrupt func()) (done func(), err error) {
	if interrupt == nil {
		interrupt = func() {}
	}
	mine := &session{interrupt, make(chan struct{})}
	for {
		s.mu.Lock()
		other := s.busy[id]
		if other == nil {
			s.busy[id] = mine
		} else {
			// Under the lock, as it must not come when the other is through: its connection serves the next request then.
			other.interrupt()
		}
		s.mu.Unlock()
		if other == nil {
			return func() {
				s.mu.Lock()
				delete(s.busy, id)
				s.mu.Unlock()
				close(mine.done)
			}, nil
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
