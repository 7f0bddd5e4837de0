// Package solve runs graphs of steps: in parallel, each step once for all who want it, and not at all where a cache has
// its outcome. It knows nothing about what the steps do.
//
// A step's key is made of what the step says of itself and of the keys of its inputs, or, where it reads a part of an
// input only, of the digest of that part. So keys of a whole graph are found from the bottom up, mostly without running
// anything; outcomes are then asked for from the top down, and what lies below a hit is never touched. For a step with
// parts the key would need its inputs' outcomes: a second key, made of the inputs' keys alone, leads to the first once
// that has been found out.
package solve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
)

// Node is a step in a graph without cycles. R is what steps hand on, M whoever waits for a step. A node is not changed
// once a job has seen it.
type Node[R, M any] struct {
	Inputs []Edge[R, M]
	Work   Work[R, M]
	// Anew runs the step though the cache may know it; what lies above then builds on this very outcome.
	Anew bool
}

// Edge is one of the outputs of a node.
type Edge[R, M any] struct {
	Node   *Node[R, M]
	Output int
}

// Work is what a step does.
type Work[R, M any] interface {
	// Key tells what decides the outcome, for the member who wants to know.
	Key(ctx context.Context, member M) (Key[R, M], error)
	// Run makes the outputs. ctx ends when nobody waits any more.
	Run(ctx context.Context, crowd *Crowd[M], in []R) (Outcome[R], error)
}

// Key is what decides the outcome of a step.
type Key[R, M any] struct {
	// Digest is of everything besides the inputs.
	Digest string
	// Content tells, for each input of which a part is read only, the digest of that part; nil where the input's own key counts.
	Content []func(ctx context.Context, member M, in R) (string, error)
	// Fresh steps have no outcome that lasts. They are run for each job, and known above by the key in their Outcome.
	Fresh bool
}

func (k *Key[R, M]) parts() bool {
	for _, c := range k.Content {
		if c != nil {
			return true
		}
	}
	return false
}

// Outcome is what a step has made.
type Outcome[R any] struct {
	Out []R
	// Key is what a fresh step is known by; the step's own where it is empty.
	Key string
	// More is for the cache alone.
	More any
	// Done, when it is not nil, is called once all who waited have taken the outcome, or gone.
	Done func()
}

// Cache keeps outcomes. Its methods are called from several goroutines.
type Cache[R, M any] interface {
	// Known tells quickly whether the member can have the outcome of this key, and by which key it is known: another one
	// after Alias.
	Known(member M, key string) (as string, ok bool)
	// Find gives the outcome to the member.
	Find(ctx context.Context, member M, key string) (Outcome[R], bool)
	// Keep takes what a step has made, before anybody gets it.
	Keep(crowd *Crowd[M], key string, made Outcome[R]) error
	// Take gives what a step has made to one of those who waited for it.
	Take(member M, made Outcome[R])
	// Alias lets key from mean what key to means.
	Alias(member M, from, to string)
}

// Watch is told how a job's steps come along.
type Watch[R, M any] interface {
	// Member is who waits for the node in this job.
	Member(n *Node[R, M]) M
	// Company tells jobs apart that must not get from one another what is being made: steps run for those of the same alone.
	Company() string
	// Known is called when the node's key is known, and whether its outcome is.
	Known(n *Node[R, M], key string, cached bool)
	Begin(n *Node[R, M])
	// End is called once for each Begin, and for what failed earlier. It returns the error as the job's caller shall see it.
	End(n *Node[R, M], err error) error
}

// Solver shares steps between jobs. It is safe for concurrent use.
type Solver[R, M any] struct {
	cache   Cache[R, M]
	mu      sync.Mutex
	flights map[string]*flight[R, M]
}

// New makes a solver on a cache.
func New[R, M any](cache Cache[R, M]) *Solver[R, M] {
	return &Solver[R, M]{cache: cache, flights: map[string]*flight[R, M]{}}
}

// Running is how many steps are being run.
func (s *Solver[R, M]) Running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.flights)
}

// combine is the key of a step with digest and inputs of these keys; kind tells the two sorts of keys apart.
func combine(kind, digest string, inputs []string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%d\n%s\n", kind, len(inputs), digest)
	for _, in := range inputs {
		io.WriteString(h, in+"\n")
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// atOnce calls do for 0 to n-1 in parallel and returns the first error, after all have come back; the others' context
// ends with it.
func atOnce(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	if n == 1 {
		return do(ctx, 0)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wait  sync.WaitGroup
		once  sync.Once
		first error
	)
	for i := range n {
		wait.Go(func() {
			if _, err := guarded(func() (none struct{}, err error) { return none, do(ctx, i) }); err != nil {
				once.Do(func() { first = err; cancel() })
			}
		})
	}
	wait.Wait()
	return first
}
