package solve

import (
	"context"
	"strings"
	"testing"
)

// TestNames: what a step is called elsewhere does not depend on what was built here before, and runs nothing.
func TestNames(t *testing.T) {
	part := func(context.Context, *listener, string) (string, error) { return "part", nil }
	a, b, c := &task{name: "a"}, &task{name: "b"}, &task{name: "c"}
	b.parts = []func(context.Context, *listener, string) (string, error){part}
	graph := func(anew bool) []*node {
		below := &node{Work: a, Anew: anew}
		middle := on(b, below)
		middle.Anew = anew
		return []*node{below, middle, on(c, middle)}
	}
	names := func(s *Solver[string, *listener], anew bool) string {
		t.Helper()
		j := s.Job(&onlooker{})
		nodes := graph(anew)
		if _, err := j.Evaluate(t.Context(), edge{Node: nodes[2]}); err != nil {
			t.Fatal(err)
		}
		runs := a.runs.Load() + b.runs.Load() + c.runs.Load()
		var all []string
		for i, n := range nodes {
			found, err := j.Names(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			if (found.Definition != "") != (i == 1) {
				t.Errorf("%d: %+v", i, found)
			}
			all = append(all, found.Key, found.Definition)
		}
		if now := a.runs.Load() + b.runs.Load() + c.runs.Load(); now != runs {
			t.Errorf("%d steps were run for their names", now-runs)
		}
		return strings.Join(all, " ")
	}
	first := New[string, *listener](newShelf())
	want := names(first, false)
	for i, s := range []*Solver[string, *listener]{first, first, New[string, *listener](newShelf())} {
		if got := names(s, i > 0); got != want {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
	}
	// What these names lead to is found from the top, elsewhere.
	shelf := newShelf()
	j := first.Job(&onlooker{})
	nodes := graph(false)
	for i, n := range nodes[1:] {
		found, err := j.Names(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		shelf.made[found.Key] = Outcome[string]{Out: []string{"there"}, Key: found.Key}
		if i == 0 {
			shelf.aliases[found.Definition] = found.Key
		}
	}
	before := a.runs.Load()
	if got, _ := evaluate(t, New[string, *listener](shelf), graph(false)[2]); got != "there" || a.runs.Load() != before {
		t.Error(got, a.runs.Load()-before)
	}
}
