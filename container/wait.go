package container

import (
	"context"
	"fmt"

	ct "github.com/moby/moby/api/types/container"
)

// Wait gives the state in which the condition came true: at once for WaitConditionNotRunning on a container
// that does not run. The channel gives one value and is closed after it; it is registered when Wait returns, so whatever happens
// afterwards is seen. When ctx ends first nothing is ever sent.
func (s *Store) Wait(ctx context.Context, id string, condition ct.WaitCondition) (<-chan State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	if e == nil {
		return nil, noSuch(id)
	}
	out := make(chan State, 1)
	switch condition {
	case "", ct.WaitConditionNotRunning:
		if !e.record.State.Busy() {
			out <- e.record.State
			close(out)
			return out, nil
		}
		e.waiters.exit = append(e.waiters.exit, out)
	case ct.WaitConditionNextExit:
		e.waiters.exit = append(e.waiters.exit, out)
	case ct.WaitConditionRemoved:
		e.waiters.gone = append(e.waiters.gone, out)
	default:
		return nil, invalid("invalid condition: %q", condition)
	}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		e.waiters.leave(out)
	})
	return out, nil
}

// waiters are told, each once, when a container ends or is removed.
type waiters struct{ exit, gone []chan State }

func (w *waiters) changed(before, after State) {
	if before.Alive() && !after.Alive() || before.Busy() && !after.Busy() {
		tell(&w.exit, after)
	}
}

func (w *waiters) removed(last State) {
	tell(&w.exit, last)
	tell(&w.gone, last)
}

func tell(list *[]chan State, st State) {
	for _, out := range *list {
		out <- st
		close(out)
	}
	*list = nil
}

func (w *waiters) leave(out chan State) {
	for _, list := range []*[]chan State{&w.exit, &w.gone} {
		kept := (*list)[:0]
		for _, o := range *list {
			if o != out {
				kept = append(kept, o)
			}
		}
		*list = kept
	}
}

// deedLock lets one deed at a time act on a container; unlike a mutex, waiting for it can be given up.
type deedLock chan struct{}

func newDeedLock() deedLock { return make(deedLock, 1) }

// Lock makes the caller the only one acting on the container id until it calls release: start, stop, rename and
// the like exclude each other. It fails when ctx ends first or there is no such container (any more).
func (s *Store) Lock(ctx context.Context, id string) (release func(), err error) {
	s.mu.RLock()
	e := s.entries[id]
	s.mu.RUnlock()
	if e == nil {
		return nil, noSuch(id)
	}
	select {
	case e.deed <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for container %s: %w", id, context.Cause(ctx))
	}
	s.mu.RLock()
	gone := s.entries[id] != e
	s.mu.RUnlock()
	if gone {
		<-e.deed
		return nil, noSuch(id)
	}
	return func() { <-e.deed }, nil
}
