// Package progress shares work under way between those who want the same of it, and carries to clients how it goes on.
package progress

import (
	"context"
	"errors"
	"sync"
)

// Stage is how far a layer or blob has come.
type Stage int

// The stages of what comes in, and then of what goes out.
const (
	Waiting Stage = iota
	Downloading
	Verifying
	Downloaded
	Extracting
	Pushing
	Pushed
	Existed
	Mounted
)

// State is a stage with how much of it is done.
type State struct {
	Stage          Stage
	Current, Total int64
	// From is the repository that was mounted from.
	From string
}

// errGivenUp ends a job that everybody has left.
var errGivenUp = errors.New("nobody waits for this any more")

// Jobs shares work: who asks for what is under way already joins it. A job is cancelled when the last of those who
// wait for it has left, and runs in a goroutine that Close waits for.
type Jobs struct {
	mu      sync.Mutex
	running map[string]*job
	closed  bool
	wait    sync.WaitGroup
}

type job struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error // valid once done is closed

	mu       sync.Mutex
	watchers map[*func(State)]bool
	last     State
	waiting  int // guarded by Jobs.mu
}

// NewJobs returns an empty set.
func NewJobs() *Jobs { return &Jobs{running: map[string]*job{}} }

// Do runs work, or joins the run of the same key, until it ends or ctx does. watch hears of the progress, also of what was
// reported before; it must not block.
func (js *Jobs) Do(ctx context.Context, key string, watch func(State), work func(ctx context.Context, report func(State)) error) error {
	for {
		j, err := js.join(key, work)
		if err != nil {
			return err
		}
		leave := j.watch(watch)
		select {
		case <-j.done:
			leave()
			js.leave(j)
			// A job that was being given up when we came is not ours: ask for a new one.
			if errors.Is(j.err, errGivenUp) && ctx.Err() == nil {
				continue
			}
			return j.err
		case <-ctx.Done():
			leave()
			js.leave(j)
			return context.Cause(ctx)
		}
	}
}

func (js *Jobs) join(key string, work func(context.Context, func(State)) error) (*job, error) {
	js.mu.Lock()
	defer js.mu.Unlock()
	if js.closed {
		return nil, errors.New("the image store is closed")
	}
	if j := js.running[key]; j != nil {
		j.waiting++
		return j, nil
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	j := &job{cancel: cancel, done: make(chan struct{}), watchers: map[*func(State)]bool{}, waiting: 1}
	js.running[key] = j
	js.wait.Go(func() {
		err := work(ctx, j.report)
		if err != nil && ctx.Err() != nil {
			err = errGivenUp
		}
		js.mu.Lock()
		delete(js.running, key)
		js.mu.Unlock()
		j.err = err
		close(j.done)
		cancel(nil)
	})
	return j, nil
}

func (js *Jobs) leave(j *job) {
	js.mu.Lock()
	defer js.mu.Unlock()
	if j.waiting--; j.waiting == 0 {
		j.cancel(errGivenUp)
	}
}

// Settle waits for those of the jobs that everybody has left, and that are still on their way out.
func (js *Jobs) Settle(ctx context.Context, keys ...string) {
	for _, key := range keys {
		js.mu.Lock()
		j := js.running[key]
		abandoned := j != nil && j.waiting == 0
		js.mu.Unlock()
		if !abandoned {
			continue
		}
		select {
		case <-j.done:
		case <-ctx.Done():
			return
		}
	}
}

// Close ends all jobs and waits for them.
func (js *Jobs) Close() {
	js.mu.Lock()
	js.closed = true
	for _, j := range js.running {
		j.cancel(errGivenUp)
	}
	js.mu.Unlock()
	js.wait.Wait()
}

// Go runs f in a goroutine that Close waits for.
func (js *Jobs) Go(f func()) { js.wait.Go(f) }

// Wait waits for everything that runs.
func (js *Jobs) Wait() { js.wait.Wait() }

// Running is how many jobs there are.
func (js *Jobs) Running() int {
	js.mu.Lock()
	defer js.mu.Unlock()
	return len(js.running)
}

func (j *job) report(p State) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last = p
	for w := range j.watchers {
		(*w)(p)
	}
}

// watch registers a watcher and returns what removes it: after that it is not called any more.
func (j *job) watch(w func(State)) func() {
	if w == nil {
		return func() {}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.watchers[&w] = true
	w(j.last)
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.watchers, &w)
	}
}
