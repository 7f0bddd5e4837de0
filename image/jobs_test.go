package image

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestJobsAreShared(t *testing.T) {
	js := newJobs()
	defer js.close()
	var runs atomic.Int32
	gate := make(chan struct{})
	var wait sync.WaitGroup
	for range 5 {
		wait.Go(func() {
			var last atomic.Int64
			err := js.do(t.Context(), "k", func(p progress) { last.Store(p.current) }, func(ctx context.Context, report func(progress)) error {
				runs.Add(1)
				report(progress{current: 7})
				<-gate
				return nil
			})
			if err != nil || last.Load() != 7 {
				t.Errorf("%v, heard %d", err, last.Load())
			}
		})
	}
	for waiting := 0; waiting < 5; time.Sleep(time.Millisecond) {
		js.mu.Lock()
		if j := js.running["k"]; j != nil {
			waiting = j.waiting
		}
		js.mu.Unlock()
	}
	close(gate)
	wait.Wait()
	if runs.Load() != 1 {
		t.Errorf("ran %d times", runs.Load())
	}
}

// TestJobIsNotInheritedDying lets somebody ask while the job that everybody has left is still on its way out.
func TestJobIsNotInheritedDying(t *testing.T) {
	js := newJobs()
	defer js.close()
	ctx, cancel := context.WithCancel(t.Context())
	started, leave := make(chan struct{}), make(chan struct{})
	go func() {
		<-started
		cancel()
	}()
	err := js.do(ctx, "k", nil, func(ctx context.Context, _ func(progress)) error {
		close(started)
		<-ctx.Done()
		<-leave
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { close(leave) })
	if err := js.do(t.Context(), "k", nil, func(context.Context, func(progress)) error { return nil }); err != nil {
		t.Errorf("the second: %v", err)
	}
}

func TestClosedJobs(t *testing.T) {
	js := newJobs()
	began := make(chan struct{})
	result := make(chan error)
	go func() {
		result <- js.do(context.Background(), "k", nil, func(ctx context.Context, _ func(progress)) error {
			close(began)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-began
	js.close()
	if err := <-result; err == nil {
		t.Error("a job survived the store")
	}
}
