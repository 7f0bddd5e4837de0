package progress

import (
	"context"
	"sync/atomic"
)

// Slots are places, one for each who does it. The zero value has none: Limit comes first. They are safe for concurrent use.
type Slots struct{ places atomic.Pointer[chan struct{}] }

// Limit sets how many there are, for those who come from then on: who has a place keeps it, and counts no more. 0 leaves it as it is.
func (s *Slots) Limit(n int) {
	if n > 0 {
		places := make(chan struct{}, n)
		s.places.Store(&places)
	}
}

// Take waits for a place and returns what gives it back.
func (s *Slots) Take(ctx context.Context) (done func(), err error) {
	places := *s.places.Load()
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
