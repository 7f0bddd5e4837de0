package progress

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestJobsAreShared(t *testing.T) {
	js := NewJobs()
	defer js.Close()
	var runs atomic.Int32
	gate := make(chan struct{})
	var wait sync.WaitGroup
	for range 5 {
		wait.Go(func() {
			var last atomic.Int64
			err := js.Do(t.Context(), "k", func(p State) { last.Store(p.Current) }, func(ctx context.Context, report func(State)) error {
				runs.Add(1)
				report(State{Current: 7})
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
	js := NewJobs()
	defer js.Close()
	ctx, cancel := context.WithCancel(t.Context())
	started, leave := make(chan struct{}), make(chan struct{})
	go func() {
		<-started
		cancel()
	}()
	err := js.Do(ctx, "k", nil, func(ctx context.Context, _ func(State)) error {
		close(started)
		<-ctx.Done()
		<-leave
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { close(leave) })
	if err := js.Do(t.Context(), "k", nil, func(context.Context, func(State)) error { return nil }); err != nil {
		t.Errorf("the second: %v", err)
	}
}

func TestClosedJobs(t *testing.T) {
	js := NewJobs()
	began := make(chan struct{})
	result := make(chan error)
	go func() {
		result <- js.Do(context.Background(), "k", nil, func(ctx context.Context, _ func(State)) error {
			close(began)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-began
	js.Close()
	if err := <-result; err == nil {
		t.Error("a job survived the store")
	}
}
