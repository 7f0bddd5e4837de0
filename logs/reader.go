package logs

import "context"

// Read gives the chosen lines to emit, oldest first, and stops with emit's first error. With q.Follow it goes on until
// ctx ends, q.Until passes, or ended is closed and everything written by then has been emitted. Line.Data and Attrs are
// only valid during the call of emit.
func Read(ctx context.Context, cfg Config, q Query, ended <-chan struct{}, emit func(Line) error) error {
	return nil
}
