package solve

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// listener waits for steps in these tests; it writes down what it hears.
type listener struct {
	mu   sync.Mutex
	told []string
}

func (l *listener) hear(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, s)
}

func (l *listener) heard() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.told, " ")
}

type node = Node[string, *listener]
type edge = Edge[string, *listener]

// shelf is a cache in memory.
type shelf struct {
	mu      sync.Mutex
	made    map[string]Outcome[string]
	aliases map[string]string
}

func newShelf() *shelf {
	return &shelf{made: map[string]Outcome[string]{}, aliases: map[string]string{}}
}

func (s *shelf) Known(_ *listener, key string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to, ok := s.aliases[key]; ok {
		key = to
	}
	_, ok := s.made[key]
	return key, ok
}

func (s *shelf) Find(_ context.Context, m *listener, key string) (Outcome[string], bool) {
	key, _ = s.Known(m, key)
	s.mu.Lock()
	defer s.mu.Unlock()
	out, ok := s.made[key]
	return out, ok
}

func (s *shelf) Keep(_ *Crowd[*listener], key string, made Outcome[string]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made[key] = made
	return nil
}

func (s *shelf) Take(m *listener, made Outcome[string]) { m.hear("took") }

func (s *shelf) Alias(_ *listener, from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aliases[from] = to
}

// onlooker is a job's watch.
type onlooker struct {
	listener
	company       string
	cached, ended atomic.Int32
}

func (o *onlooker) Company() string        { return o.company }
func (o *onlooker) Member(*node) *listener { return &o.listener }
func (o *onlooker) Known(_ *node, _ string, cached bool) {
	if cached {
		o.cached.Add(1)
	}
}
func (o *onlooker) Begin(*node) {}
func (o *onlooker) End(_ *node, err error) error {
	o.ended.Add(1)
	return err
}

// task is a step: its output is its name, with its inputs in parentheses.
type task struct {
	name    string
	parts   []func(context.Context, *listener, string) (string, error)
	fresh   bool
	known   string
	keyErr  error
	runs    atomic.Int32
	done    atomic.Int32
	asked   atomic.Int32
	perform func(ctx context.Context, crowd *Crowd[*listener]) error
}

func (t *task) Key(context.Context, *listener) (Key[string, *listener], error) {
	t.asked.Add(1)
	return Key[string, *listener]{Digest: t.name, Content: t.parts, Fresh: t.fresh}, t.keyErr
}

func (t *task) Run(ctx context.Context, crowd *Crowd[*listener], in []string) (Outcome[string], error) {
	t.runs.Add(1)
	if t.perform != nil {
		if err := t.perform(ctx, crowd); err != nil {
			return Outcome[string]{}, err
		}
	}
	if len(in) > 0 {
		return Outcome[string]{Out: []string{t.name + "(" + strings.Join(in, " ") + ")", t.name + "'"}, Key: t.known, Done: func() { t.done.Add(1) }}, nil
	}
	return Outcome[string]{Out: []string{t.name, t.name + "'"}, Key: t.known, Done: func() { t.done.Add(1) }}, nil
}

func on(t *task, in ...*node) *node {
	n := &node{Work: t}
	for _, i := range in {
		n.Inputs = append(n.Inputs, edge{Node: i})
	}
	return n
}

func evaluate(t *testing.T, s *Solver[string, *listener], n *node) (string, *onlooker) {
	t.Helper()
	o := &onlooker{}
	got, err := s.Job(o).Evaluate(t.Context(), edge{Node: n})
	if err != nil {
		t.Fatal(err)
	}
	if left := s.Running(); left != 0 {
		t.Errorf("%d steps still run", left)
	}
	return got, o
}

func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to that")
		}
	}
}
