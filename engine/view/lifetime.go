package view

import (
	"context"
	"time"
)

// Lifetime is the context of what goes on between a start of the daemon and its end. It is cancelled by closing it.
type Lifetime chan struct{}

// Deadline is none.
func (l Lifetime) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done is closed when the daemon ends.
func (l Lifetime) Done() <-chan struct{} { return l }

// Err is context.Canceled once the daemon ends.
func (l Lifetime) Err() error {
	select {
	case <-l:
		return context.Canceled
	default:
		return nil
	}
}

// Value is none.
func (l Lifetime) Value(any) any { return nil }
