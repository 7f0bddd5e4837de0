package build

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/identity"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/build/step"
)

// progress is what clients see of a build.
type progress struct {
	tape *tape

	mu       sync.Mutex
	vertices map[digest.Digest]*client.Vertex
	counts   counts
}

// counts are for the history.
type counts struct{ total, completed, cached, warnings int32 }

func newProgress(t *tape) *progress {
	return &progress{tape: t, vertices: map[digest.Digest]*client.Vertex{}}
}

// legible is a text that the wire takes: what a client has written need not be UTF-8.
func legible(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// announce shows steps that nothing has happened to yet.
func (p *progress) announce(list []*vertex) {
	s := &client.SolveStatus{}
	p.mu.Lock()
	for _, v := range list {
		if _, ok := p.vertices[v.Digest]; ok {
			continue
		}
		shown := &client.Vertex{Digest: v.Digest, Inputs: v.inputs, Name: legible(v.Name), ProgressGroup: v.meta.GetProgressGroup()}
		p.vertices[v.Digest] = shown
		p.counts.total++
		copied := *shown
		s.Vertexes = append(s.Vertexes, &copied)
	}
	p.mu.Unlock()
	if len(s.Vertexes) > 0 {
		p.tape.write(s)
	}
}

// change changes what is shown of a step, where change says that there is something new.
func (p *progress) change(dgst digest.Digest, change func(v *client.Vertex, now *time.Time) bool) {
	now := time.Now()
	p.mu.Lock()
	v, ok := p.vertices[dgst]
	if !ok || !change(v, &now) {
		p.mu.Unlock()
		return
	}
	copied := *v
	p.mu.Unlock()
	p.tape.write(&client.SolveStatus{Vertexes: []*client.Vertex{&copied}})
}

func (p *progress) begin(dgst digest.Digest) {
	p.change(dgst, func(v *client.Vertex, now *time.Time) bool {
		if v.Started != nil && v.Completed == nil {
			return false
		}
		v.Started, v.Completed, v.Cached, v.Error = now, nil, false, ""
		return true
	})
}

// cached shows that the step needs not be run.
func (p *progress) cached(dgst digest.Digest) {
	p.change(dgst, func(v *client.Vertex, now *time.Time) bool {
		if v.Completed != nil {
			return false
		}
		if v.Started == nil {
			v.Started = now
		}
		v.Completed, v.Cached = now, true
		p.counts.completed++
		p.counts.cached++
		return true
	})
}

func (p *progress) end(dgst digest.Digest, err error) {
	p.change(dgst, func(v *client.Vertex, now *time.Time) bool {
		if v.Completed != nil && err == nil {
			return false
		}
		if v.Started == nil {
			v.Started = now
		}
		if v.Completed = now; err != nil {
			v.Error = message(err)
		} else {
			p.counts.completed++
		}
		return true
	})
}

// message is what a client shows of an error; it knows cancelled steps by their text.
func message(err error) string {
	if errors.Is(err, context.Canceled) {
		return context.Canceled.Error()
	}
	return legible(err.Error())
}

func (p *progress) log(dgst digest.Digest, stream int, data []byte, at time.Time) {
	p.tape.write(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: dgst, Stream: stream, Data: data, Timestamp: at}}})
}

func (p *progress) status(dgst digest.Digest, s step.Status, at time.Time) {
	p.tape.write(&client.SolveStatus{Statuses: []*client.VertexStatus{{
		ID: legible(s.ID), Vertex: dgst, Current: s.Current, Total: s.Total, Started: s.Started, Completed: s.Completed, Timestamp: at,
	}}})
}

func (p *progress) warn(w *client.VertexWarning) {
	p.mu.Lock()
	p.counts.warnings++
	p.mu.Unlock()
	p.tape.write(&client.SolveStatus{Warnings: []*client.VertexWarning{w}})
}

func (p *progress) counted() counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

// task shows something the build does besides its steps, such as bringing the outcome away.
func (b *build) task(ctx context.Context, name string, do func(ctx context.Context, env *step.Env) error) error {
	v := &vertex{}
	v.Digest, v.Name = digest.FromString(identity.NewID()), name
	v.Platform = normalize(nil)
	b.progress.announce([]*vertex{v})
	b.progress.begin(v.Digest)
	err := do(ctx, b.env(v))
	b.progress.end(v.Digest, err)
	return err
}
