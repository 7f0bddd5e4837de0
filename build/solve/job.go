package solve

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
)

// Job is one caller's work on graphs: it remembers what it has found out about their nodes. It is safe for concurrent use.
type Job[R, M any] struct {
	solver *Solver[R, M]
	watch  Watch[R, M]

	mu    sync.Mutex
	nodes map[*Node[R, M]]*progress[R, M]
}

// progress is what a job knows of a node.
type progress[R, M any] struct {
	asked once[Key[R, M]]
	key   once[string]
	made  once[Outcome[R]]
	names once[Names]
}

// Job begins a job.
func (s *Solver[R, M]) Job(watch Watch[R, M]) *Job[R, M] {
	return &Job[R, M]{solver: s, watch: watch, nodes: map[*Node[R, M]]*progress[R, M]{}}
}

func (j *Job[R, M]) progress(n *Node[R, M]) *progress[R, M] {
	j.mu.Lock()
	defer j.mu.Unlock()
	p, ok := j.nodes[n]
	if !ok {
		p = &progress[R, M]{}
		j.nodes[n] = p
	}
	return p
}

// Evaluate gives what the edge stands for, from the cache or by running what it takes.
func (j *Job[R, M]) Evaluate(ctx context.Context, e Edge[R, M]) (R, error) {
	var none R
	out, err := j.outcome(ctx, e.Node)
	if err != nil {
		return none, err
	}
	if e.Output < 0 || e.Output >= len(out.Out) {
		return none, fmt.Errorf("step has %d outputs: there is no number %d", len(out.Out), e.Output)
	}
	return out.Out[e.Output], nil
}

// Key tells the key of a node, running as little as possible.
func (j *Job[R, M]) Key(ctx context.Context, n *Node[R, M]) (string, error) {
	p := j.progress(n)
	return p.key.get(ctx, func(ctx context.Context) (string, error) {
		asked, err := j.ask(ctx, n)
		if err != nil {
			return "", err
		}
		if asked.Fresh {
			out, err := j.outcome(ctx, n)
			return out.Key, err
		}
		key, cached, err := j.find(ctx, n, asked)
		if err != nil {
			return "", err
		}
		j.watch.Known(n, key, cached)
		return key, nil
	})
}

// ask asks the step itself, once.
func (j *Job[R, M]) ask(ctx context.Context, n *Node[R, M]) (Key[R, M], error) {
	return j.progress(n).asked.get(ctx, func(ctx context.Context) (Key[R, M], error) {
		k, err := n.Work.Key(ctx, j.watch.Member(n))
		if err != nil {
			return k, j.watch.End(n, err)
		}
		return k, nil
	})
}

// find makes the key of a node that lasts, and tells whether the cache has its outcome.
func (j *Job[R, M]) find(ctx context.Context, n *Node[R, M], asked Key[R, M]) (key string, cached bool, err error) {
	keys := make([]string, len(n.Inputs))
	err = atOnce(ctx, len(n.Inputs), func(ctx context.Context, i int) error {
		k, err := j.Key(ctx, n.Inputs[i].Node)
		keys[i] = fmt.Sprintf("%s %d", k, n.Inputs[i].Output)
		return err
	})
	if err != nil {
		return "", false, err
	}
	member := j.watch.Member(n)
	if n.Anew {
		// Not found, and not to be found by the usual way either: what lies above must not mistake it for an earlier one.
		return combine("anew", asked.Digest, append(keys, rand.Text())), false, nil
	}
	if !asked.parts() {
		key, cached = j.solver.cache.Known(member, combine("key", asked.Digest, keys))
		return key, cached, nil
	}
	definition := combine("definition", asked.Digest, keys)
	if key, cached = j.solver.cache.Known(member, definition); cached {
		return key, true, nil
	}
	if err = j.contents(ctx, n, asked, keys); err != nil {
		return "", false, err
	}
	key, cached = j.solver.cache.Known(member, combine("key", asked.Digest, keys))
	if cached {
		j.solver.cache.Alias(member, definition, key)
	}
	return key, cached, nil
}

// contents puts, for each input that the node reads a part of, the digest of that part in the place of its key.
func (j *Job[R, M]) contents(ctx context.Context, n *Node[R, M], asked Key[R, M], keys []string) error {
	return atOnce(ctx, len(n.Inputs), func(ctx context.Context, i int) error {
		if i >= len(asked.Content) || asked.Content[i] == nil {
			return nil
		}
		in, err := j.Evaluate(ctx, n.Inputs[i])
		if err != nil {
			return err
		}
		part, err := asked.Content[i](ctx, j.watch.Member(n), in)
		if err != nil {
			return j.watch.End(n, err)
		}
		keys[i] = "content " + part
		return nil
	})
}

// outcome is what the node makes.
func (j *Job[R, M]) outcome(ctx context.Context, n *Node[R, M]) (Outcome[R], error) {
	return j.progress(n).made.get(ctx, func(ctx context.Context) (Outcome[R], error) {
		asked, err := j.ask(ctx, n)
		if err != nil {
			return Outcome[R]{}, err
		}
		if asked.Fresh {
			return j.fresh(ctx, n, asked)
		}
		key, err := j.Key(ctx, n)
		if err != nil {
			return Outcome[R]{}, err
		}
		member := j.watch.Member(n)
		if out, ok := j.solver.cache.Find(ctx, member, key); ok {
			return out, nil
		}
		// Whoever runs it already has the inputs.
		if out, ok, err := j.join(ctx, n, key, member); ok {
			return out, err
		}
		in, err := j.inputs(ctx, n)
		if err != nil {
			return Outcome[R]{}, err
		}
		out, err := j.run(ctx, n, key, member, in)
		if err == nil {
			j.learn(ctx, n, asked, key)
		}
		return out, err
	})
}

// flight names the running of a step of this key, for all who may have the outcome.
func (j *Job[R, M]) flight(key string) string {
	if company := j.watch.Company(); company != "" {
		return key + " for " + company
	}
	return key
}

func (j *Job[R, M]) join(ctx context.Context, n *Node[R, M], key string, member M) (Outcome[R], bool, error) {
	flight := j.flight(key)
	j.solver.mu.Lock()
	_, flies := j.solver.flights[flight]
	j.solver.mu.Unlock()
	if !flies {
		return Outcome[R]{}, false, nil
	}
	j.watch.Begin(n)
	out, ok, err := j.solver.share(ctx, flight, member, nil)
	if !ok { // it ended before we came
		return Outcome[R]{}, false, nil
	}
	return out, true, j.watch.End(n, err)
}

// inputs evaluates the node's inputs.
func (j *Job[R, M]) inputs(ctx context.Context, n *Node[R, M]) ([]R, error) {
	in := make([]R, len(n.Inputs))
	err := atOnce(ctx, len(in), func(ctx context.Context, i int) (err error) {
		in[i], err = j.Evaluate(ctx, n.Inputs[i])
		return err
	})
	return in, err
}

// run runs the step, or waits for another job that does.
func (j *Job[R, M]) run(ctx context.Context, n *Node[R, M], key string, member M, in []R) (Outcome[R], error) {
	j.watch.Begin(n)
	out, _, err := j.solver.share(ctx, j.flight(key), member, func(ctx context.Context, crowd *Crowd[M]) (Outcome[R], error) {
		if out, ok := j.solver.cache.Find(ctx, member, key); ok {
			out.Done = nil // that of the flight which made it has been called
			return out, nil
		}
		out, err := n.Work.Run(ctx, crowd, in)
		if err != nil {
			return out, err
		}
		if out.Key == "" {
			out.Key = key
		}
		return out, j.solver.cache.Keep(crowd, key, out)
	})
	return out, j.watch.End(n, err)
}

// fresh runs a step whose outcome does not last.
func (j *Job[R, M]) fresh(ctx context.Context, n *Node[R, M], asked Key[R, M]) (Outcome[R], error) {
	in, err := j.inputs(ctx, n)
	if err != nil {
		return Outcome[R]{}, err
	}
	keys := make([]string, len(n.Inputs))
	err = atOnce(ctx, len(keys), func(ctx context.Context, i int) (err error) {
		keys[i], err = j.Key(ctx, n.Inputs[i].Node)
		return err
	})
	if err != nil {
		return Outcome[R]{}, err
	}
	key := combine("fresh", asked.Digest, keys)
	j.watch.Begin(n)
	out, _, err := j.solver.share(ctx, j.flight(key), j.watch.Member(n), func(ctx context.Context, crowd *Crowd[M]) (Outcome[R], error) {
		out, err := n.Work.Run(ctx, crowd, in)
		if err != nil {
			return out, err
		}
		if out.Key == "" {
			out.Key = key
		}
		return out, j.solver.cache.Keep(crowd, out.Key, out)
	})
	if err := j.watch.End(n, err); err != nil {
		return Outcome[R]{}, err
	}
	j.watch.Known(n, out.Key, false)
	return out, nil
}

// learn makes the ways known that lead to what was run: from the inputs' keys to the key with contents, and from the
// usual key to that of a step run anew.
func (j *Job[R, M]) learn(ctx context.Context, n *Node[R, M], asked Key[R, M], key string) {
	keys := make([]string, len(n.Inputs))
	for i, in := range n.Inputs {
		k, err := j.Key(ctx, in.Node)
		if err != nil {
			return
		}
		keys[i] = fmt.Sprintf("%s %d", k, in.Output)
	}
	member := j.watch.Member(n)
	if asked.parts() {
		j.solver.cache.Alias(member, combine("definition", asked.Digest, keys), key)
	}
	if n.Anew && j.contents(ctx, n, asked, keys) == nil {
		j.solver.cache.Alias(member, combine("key", asked.Digest, keys), key)
	}
}
