package solve

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func TestCachedFromTheTop(t *testing.T) {
	a, b, c := &task{name: "a"}, &task{name: "b"}, &task{name: "c"}
	cache := newShelf()
	s := New[string, *listener](cache)
	graph := func() *node { base := on(a); return on(c, on(b, base), base) }
	if got, _ := evaluate(t, s, graph()); got != "c(b(a) a)" {
		t.Errorf("got %s", got)
	}
	got, o := evaluate(t, s, graph())
	if got != "c(b(a) a)" || a.runs.Load() != 1 || b.runs.Load() != 1 || c.runs.Load() != 1 || o.cached.Load() != 3 {
		t.Errorf("second time %s, runs %d %d %d, %d cached", got, a.runs.Load(), b.runs.Load(), c.runs.Load(), o.cached.Load())
	}
	// What lies below a hit may be gone.
	key, _ := s.Job(&onlooker{}).Key(t.Context(), on(b, on(a)))
	delete(cache.made, key)
	if evaluate(t, s, graph()); b.runs.Load() != 1 {
		t.Error("a step below a hit was run")
	}
	if evaluate(t, s, on(b, on(a))); b.runs.Load() != 2 {
		t.Error("a step that the cache had lost was not run")
	}
}

func TestOutputs(t *testing.T) {
	s := New[string, *listener](newShelf())
	a := on(&task{name: "a"})
	first := &node{Work: &task{name: "x"}, Inputs: []edge{{Node: a, Output: 0}}}
	second := &node{Work: &task{name: "x"}, Inputs: []edge{{Node: a, Output: 1}}}
	if got, _ := evaluate(t, s, first); got != "x(a)" {
		t.Error(got)
	}
	if got, _ := evaluate(t, s, second); got != "x(a')" {
		t.Error("another output of the input is another input:", got)
	}
	if _, err := s.Job(&onlooker{}).Evaluate(t.Context(), edge{Node: a, Output: 2}); err == nil {
		t.Error("no such output")
	}
}

func TestContent(t *testing.T) {
	part := "v1"
	looks := 0
	look := func(_ context.Context, _ *listener, in string) (string, error) { looks++; return part, nil }
	base, copied, top := &task{name: "base"}, &task{name: "copy"}, &task{name: "top"}
	copied.parts = []func(context.Context, *listener, string) (string, error){nil, look}
	s := New[string, *listener](newShelf())
	folder := func(version string) *task { return &task{name: "folder " + version} }
	graph := func(f *task) *node { return on(top, on(copied, on(base), on(f))) }

	evaluate(t, s, graph(folder("1")))
	evaluate(t, s, graph(folder("1")))
	if looks != 1 || top.runs.Load() != 1 {
		t.Errorf("looked %d times, top ran %d times", looks, top.runs.Load())
	}
	// Another folder with the same part: known by its content, and the next time by its key.
	other := folder("2")
	evaluate(t, s, graph(other))
	evaluate(t, s, graph(other))
	if looks != 2 || copied.runs.Load() != 1 || other.runs.Load() != 1 {
		t.Errorf("looked %d times, copied %d times, folder %d", looks, copied.runs.Load(), other.runs.Load())
	}
	part = "v2"
	evaluate(t, s, graph(folder("3")))
	if copied.runs.Load() != 2 || top.runs.Load() != 2 || base.runs.Load() != 1 {
		t.Errorf("after a change: copied %d, top %d, base %d", copied.runs.Load(), top.runs.Load(), base.runs.Load())
	}
}

func TestFreshStepsAreKnownByWhatTheyFound(t *testing.T) {
	top := &task{name: "top"}
	s := New[string, *listener](newShelf())
	for i := range 3 {
		found := &task{name: fmt.Sprint("folder of session ", i), fresh: true, known: "same content"}
		n := on(found)
		o := &onlooker{}
		j := s.Job(o)
		for range 2 {
			if _, err := j.Evaluate(t.Context(), edge{Node: on(top, n)}); err != nil {
				t.Fatal(err)
			}
		}
		if found.runs.Load() != 1 {
			t.Errorf("a fresh step ran %d times in one job", found.runs.Load())
		}
	}
	if top.runs.Load() != 1 {
		t.Errorf("what lies above ran %d times", top.runs.Load())
	}
}

func TestAnew(t *testing.T) {
	for _, parts := range []bool{false, true} {
		a, b, c := &task{name: "a"}, &task{name: "b"}, &task{name: "c"}
		if parts {
			b.parts = []func(context.Context, *listener, string) (string, error){
				func(context.Context, *listener, string) (string, error) { return "part", nil }}
		}
		s := New[string, *listener](newShelf())
		graph := func(anew bool) *node { n := on(b, on(a)); n.Anew = anew; return on(c, n) }
		for i, want := range []struct {
			anew bool
			runs int32
		}{{false, 1}, {true, 2}, {true, 3}, {false, 3}, {false, 3}} {
			evaluate(t, s, graph(want.anew))
			if b.runs.Load() != want.runs || c.runs.Load() != want.runs || a.runs.Load() != 1 {
				t.Errorf("parts %v, build %d: ran a %d b %d c %d times, want %d of b and c", parts, i, a.runs.Load(), b.runs.Load(), c.runs.Load(), want.runs)
			}
		}
	}
}

func TestJobsShareWhatRuns(t *testing.T) {
	gate, begun := make(chan struct{}), make(chan struct{})
	slow := &task{name: "slow"}
	slow.perform = func(_ context.Context, crowd *Crowd[*listener]) error {
		crowd.Tell("", func(l *listener) { l.hear("begins") })
		crowd.Tell("rate", func(l *listener) { l.hear("10%") })
		crowd.Tell("rate", func(l *listener) { l.hear("50%") })
		close(begun)
		<-gate
		return nil
	}
	s := New[string, *listener](newShelf())
	var wait sync.WaitGroup
	watchers := make([]*onlooker, 10)
	start := func(i int) {
		o := &onlooker{}
		watchers[i] = o
		wait.Go(func() {
			got, err := s.Job(o).Evaluate(t.Context(), edge{Node: on(slow)})
			if got != "slow" || err != nil {
				t.Error(got, err)
			}
		})
	}
	start(0)
	<-begun
	for i := 1; i < len(watchers); i++ {
		start(i)
	}
	waitFor(t, func() bool { return crowdOf(s) == len(watchers) })
	close(gate)
	wait.Wait()
	if slow.runs.Load() != 1 || slow.done.Load() != 1 {
		t.Errorf("ran %d times, was done %d times", slow.runs.Load(), slow.done.Load())
	}
	for i, o := range watchers {
		want := "begins 50% took"
		if i == 0 {
			want = "begins 10% 50% took"
		}
		if o.heard() != want {
			t.Errorf("job %d heard %q", i, o.heard())
		}
	}
}

// crowdOf is how many wait for the one step that runs.
func crowdOf(s *Solver[string, *listener]) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.flights {
		return len(f.crowd.Members())
	}
	return 0
}

func TestWhoLeavesTakesOnlyHimselfAway(t *testing.T) {
	begun, ended := make(chan struct{}, 10), make(chan error, 10)
	gate := make(chan struct{})
	slow := &task{name: "slow"}
	slow.perform = func(ctx context.Context, _ *Crowd[*listener]) error {
		begun <- struct{}{}
		select {
		case <-gate:
			ended <- nil
		case <-ctx.Done():
			ended <- ctx.Err()
		}
		return ctx.Err()
	}
	s := New[string, *listener](newShelf())
	results := make(chan error, 10)
	join := func(ctx context.Context) {
		go func() {
			_, err := s.Job(&onlooker{}).Evaluate(ctx, edge{Node: on(slow)})
			results <- err
		}()
	}
	first, leave := context.WithCancel(t.Context())
	second, leaveToo := context.WithCancel(t.Context())
	join(first)
	<-begun
	join(second)
	waitFor(t, func() bool { return crowdOf(s) == 2 })
	leave()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Error("the first:", err)
	}
	select {
	case err := <-ended:
		t.Fatal("the step ended with the first of two who wait:", err)
	case <-time.After(20 * time.Millisecond):
	}
	leaveToo()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Error("the second:", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error("the step:", err)
	}
	waitFor(t, func() bool { return s.Running() == 0 })

	// The step can be had again.
	close(gate)
	join(t.Context())
	if err := <-results; err != nil || slow.runs.Load() != 2 {
		t.Error("afterwards:", err, slow.runs.Load())
	}
}

func TestWhatFailedForOneWhoLeftIsTriedAgain(t *testing.T) {
	gate, begun := make(chan struct{}), make(chan struct{}, 2)
	broken := errors.New("no secret")
	step := &task{name: "step"}
	step.perform = func(_ context.Context, crowd *Crowd[*listener]) error {
		begun <- struct{}{}
		if step.runs.Load() > 1 {
			return nil
		}
		<-gate
		return broken
	}
	s := New[string, *listener](newShelf())
	first, leave := context.WithCancel(t.Context())
	results := make(chan error, 2)
	go func() { _, err := s.Job(&onlooker{}).Evaluate(first, edge{Node: on(step)}); results <- err }()
	<-begun
	go func() { _, err := s.Job(&onlooker{}).Evaluate(t.Context(), edge{Node: on(step)}); results <- err }()
	waitFor(t, func() bool { return crowdOf(s) == 2 })
	leave()
	<-results
	close(gate)
	if err := <-results; err != nil || step.runs.Load() != 2 {
		t.Errorf("%v, ran %d times", err, step.runs.Load())
	}
}

func TestFailures(t *testing.T) {
	broken := errors.New("broken")
	bad := &task{name: "bad", perform: func(context.Context, *Crowd[*listener]) error { return broken }}
	mute := &task{name: "mute", keyErr: broken}
	above := &task{name: "above"}
	s := New[string, *listener](newShelf())
	for _, n := range []*node{on(above, on(bad)), on(above, on(mute), on(&task{name: "good"}))} {
		o := &onlooker{}
		j := s.Job(o)
		for range 2 {
			if _, err := j.Evaluate(t.Context(), edge{Node: n}); !errors.Is(err, broken) {
				t.Error(err)
			}
		}
		if above.runs.Load() != 0 {
			t.Error("a step ran on inputs that failed")
		}
	}
	if bad.runs.Load() != 1 {
		t.Errorf("what failed ran %d times in one job", bad.runs.Load())
	}
	// Another job tries again.
	if _, err := s.Job(&onlooker{}).Evaluate(t.Context(), edge{Node: on(bad)}); err == nil || bad.runs.Load() != 2 {
		t.Error("a failure was remembered", err, bad.runs.Load())
	}
}

func TestOneFailureEndsTheOthers(t *testing.T) {
	broken := errors.New("broken")
	begun := make(chan struct{})
	slow := &task{name: "slow", perform: func(ctx context.Context, _ *Crowd[*listener]) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}}
	bad := &task{name: "bad", perform: func(context.Context, *Crowd[*listener]) error { <-begun; return broken }}
	s := New[string, *listener](newShelf())
	_, err := s.Job(&onlooker{}).Evaluate(t.Context(), edge{Node: on(&task{name: "top"}, on(slow), on(bad))})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	waitFor(t, func() bool { return s.Running() == 0 })
}

// TestRandomGraphs lets many jobs solve random graphs over the same steps: each step runs once, whatever the order, and
// every job gets what the graph says.
func TestRandomGraphs(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		const size = 25
		tasks := make([]*task, size)
		inputs := make([][]int, size)
		want := make([]string, size)
		for i := range tasks {
			tasks[i] = &task{name: fmt.Sprint("s", i)}
			pause := time.Duration(r.IntN(300)) * time.Microsecond
			tasks[i].perform = func(context.Context, *Crowd[*listener]) error { time.Sleep(pause); return nil }
			seen := []string{}
			for range r.IntN(4) {
				if i == 0 {
					break
				}
				k := r.IntN(i)
				inputs[i] = append(inputs[i], k)
				seen = append(seen, want[k])
				if r.IntN(3) == 0 {
					for len(tasks[i].parts) < len(inputs[i])-1 {
						tasks[i].parts = append(tasks[i].parts, nil)
					}
					tasks[i].parts = append(tasks[i].parts, func(_ context.Context, _ *listener, in string) (string, error) { return in, nil })
				}
			}
			want[i] = tasks[i].name
			if len(seen) > 0 {
				want[i] += "(" + strings.Join(seen, " ") + ")"
			}
		}
		s := New[string, *listener](newShelf())
		var wait sync.WaitGroup
		for range 6 {
			goal := size - 1 - r.IntN(4)
			wait.Go(func() {
				nodes := make([]*node, size)
				for i := range nodes {
					nodes[i] = on(tasks[i])
					for _, k := range inputs[i] {
						nodes[i].Inputs = append(nodes[i].Inputs, edge{Node: nodes[k]})
					}
				}
				got, err := s.Job(&onlooker{}).Evaluate(t.Context(), edge{Node: nodes[goal]})
				if err != nil || got != want[goal] {
					t.Errorf("seed %d: %q, %v, want %q", seed, got, err, want[goal])
				}
			})
		}
		wait.Wait()
		for _, task := range tasks {
			if n := task.runs.Load(); n > 1 || n != task.done.Load() {
				t.Errorf("seed %d: %s ran %d times, was done %d times", seed, task.name, n, task.done.Load())
			}
		}
	}
}

// TestRandomLeaving cancels jobs at random moments: those that stay get their outcome, and nothing is left running.
func TestRandomLeaving(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	s := New[string, *listener](newShelf())
	for round := range 40 {
		a := &task{name: fmt.Sprint("a", round)}
		b := &task{name: fmt.Sprint("b", round)}
		for _, each := range []*task{a, b} {
			each.perform = func(ctx context.Context, _ *Crowd[*listener]) error {
				select {
				case <-time.After(2 * time.Millisecond):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		var wait sync.WaitGroup
		for i := range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			if i > 0 {
				time.AfterFunc(time.Duration(r.IntN(5000))*time.Microsecond, cancel)
			}
			wait.Go(func() {
				defer cancel()
				got, err := s.Job(&onlooker{}).Evaluate(ctx, edge{Node: on(b, on(a))})
				if err == nil && got != fmt.Sprintf("b%d(a%d)", round, round) || i == 0 && err != nil {
					t.Errorf("round %d: %q, %v", round, got, err)
				}
			})
		}
		wait.Wait()
		waitFor(t, func() bool { return s.Running() == 0 })
	}
}

// TestPanic: what goes wrong in a step that much is that step's failure, wherever it happens.
func TestPanic(t *testing.T) {
	s := New[string, *listener](newShelf())
	bad := func(context.Context, *listener, string) (string, error) { panic("content") }
	a, b := on(&task{name: "a"}), on(&task{name: "b"})
	for name, n := range map[string]*node{
		"run":     on(&task{name: "runs", perform: func(context.Context, *Crowd[*listener]) error { panic("run") }}, a),
		"content": on(&task{name: "reads", parts: []func(context.Context, *listener, string) (string, error){bad, bad}}, a, b),
	} {
		if _, err := s.Job(&onlooker{}).Evaluate(t.Context(), edge{Node: n}); !errors.Is(err, errdefs.ErrInternal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left := s.Running(); left != 0 {
		t.Errorf("%d steps still run", left)
	}
}

// TestStepsAreNeverAlone: whoever wants a step is there when it begins, with all that it may need of them.
func TestStepsAreNeverAlone(t *testing.T) {
	s := New[string, *listener](newShelf())
	var wait sync.WaitGroup
	for who := range 16 {
		wait.Go(func() {
			for i := range 2000 {
				step := &task{name: fmt.Sprint(who, " ", i)}
				step.perform = func(_ context.Context, crowd *Crowd[*listener]) error {
					if len(crowd.Members()) == 0 {
						t.Error("nobody waits for the step that was begun for somebody")
					}
					return nil
				}
				if _, err := s.Job(&onlooker{}).Evaluate(t.Context(), edge{Node: on(step)}); err != nil || t.Failed() {
					return
				}
			}
		})
	}
	wait.Wait()
}
