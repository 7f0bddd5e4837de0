package build

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/build/solve"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
)

// watcher is a build that waits for a step, which is the vertex there.
type watcher struct {
	build  *build
	vertex *vertex
}

type crowd = solve.Crowd[*watcher]

// work is what the solver knows of a step.
type work struct {
	build  *build
	vertex *vertex
	op     step.Op
}

// Key implements solve.Work.
func (w *work) Key(ctx context.Context, m *watcher) (solve.Key[step.Ref, *watcher], error) {
	k, err := w.op.Key(ctx, m.build.env(m.vertex))
	if err != nil {
		return solve.Key[step.Ref, *watcher]{}, err
	}
	out := solve.Key[step.Ref, *watcher]{Digest: k.Digest.String(), Fresh: k.Fresh}
	for i, content := range k.Content {
		if content == nil {
			out.Content = append(out.Content, nil)
			continue
		}
		input := ""
		if i < len(m.vertex.inputs) {
			input = m.vertex.inputs[i].String()
		}
		out.Content = append(out.Content, func(ctx context.Context, m *watcher, in step.Ref) (string, error) {
			d, err := content(ctx, m.build.env(m.vertex), in)
			if err != nil {
				return "", contentError(input, err)
			}
			return d.String(), nil
		})
	}
	return out, nil
}

// made is what the cache needs to know of an outcome.
type made struct {
	step.Outcome
	build *build // that ran the step
	lease *cache.Lease
	own   []string
	name  string
}

// origins are where the inputs of a step came from, each once.
func origins(in []step.Ref) []string {
	var out []string
	for _, ref := range in {
		out = append(out, ref.Origins...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Run implements solve.Work. What the step makes is held until the last of those who waited has taken it.
func (w *work) Run(ctx context.Context, c *crowd, in []step.Ref) (solve.Outcome[step.Ref], error) {
	b := w.build.builder
	lease := b.parts.Cache.Lease()
	for _, ref := range in {
		lease.Hold(ref.Pile...)
	}
	out, err := w.op.Run(ctx, w.env(c, lease), in)
	if err != nil {
		return solve.Outcome[step.Ref]{Done: w.leave(c, lease, err)}, err
	}
	from := origins(in)
	for i := range out.Refs {
		out.Refs[i].Origins = from
	}
	return solve.Outcome[step.Ref]{
		Out: out.Refs, Key: out.Key.String(), Done: func() { b.scrap(lease.Release()) },
		More: &made{Outcome: out, build: w.build, lease: lease, own: own(out.Refs, in), name: w.vertex.Name},
	}, nil
}

// leave lets go of what a step that failed has made. What its command left to look into is held by the builds that waited
// for the step, until they end.
func (w *work) leave(c *crowd, lease *cache.Lease, failed error) (done func()) {
	release := func() { w.build.builder.scrap(lease.Release()) }
	var f *step.Failure
	if !errors.As(failed, &f) {
		release()
		return nil
	}
	for _, ref := range slices.Concat(f.Inputs, f.Mounts) {
		if ref != nil {
			c.Tell("", func(m *watcher) { m.build.lease.Hold(ref.Pile...) })
		}
	}
	return release
}

// own are the layers that a step has made: they are in no input and not an image's.
func own(refs, in []step.Ref) []string {
	given := map[string]bool{}
	for _, ref := range in {
		for _, name := range ref.Pile {
			given[name] = true
		}
	}
	var out []string
	for _, ref := range refs {
		for _, name := range ref.Pile {
			if !given[name] && !strings.HasPrefix(name, "sha256:") {
				given[name] = true
				out = append(out, name)
			}
		}
	}
	return out
}

// env is what a step may use of all who wait for it.
func (w *work) env(c *crowd, lease *cache.Lease) *step.Env {
	env := w.build.env(w.vertex)
	env.Group, env.Lease = crowdGroup{c}, lease
	clip := newClip(w.build.builder.parts.Config.Logs)
	env.Out = func(stream int, p []byte) {
		now := time.Now()
		if p = clip.pass(p, now); p != nil {
			c.Tell("", func(m *watcher) { m.build.progress.log(m.vertex.Digest, stream, p, now) })
		}
	}
	env.Progress = func(s step.Status) {
		now := time.Now()
		c.Tell("status "+s.ID, func(m *watcher) { m.build.progress.status(m.vertex.Digest, s, now) })
	}
	env.Warn = func(short, url string, detail ...string) {
		c.Tell("", func(m *watcher) { m.build.warn(m.vertex, short, url, detail) })
	}
	env.Mount = func(id string) func(ctx context.Context, dir *os.File) error {
		for _, m := range c.Members() {
			if fill := m.build.mount(id, env); fill != nil {
				return fill
			}
		}
		return nil
	}
	return env
}

// crowdGroup are the sessions of all who wait for a step, whoever that is at the moment.
type crowdGroup struct{ crowd *crowd }

// SessionIterator implements session.Group.
func (g crowdGroup) SessionIterator() session.Iterator {
	var ids []string
	for _, m := range g.crowd.Members() {
		ids = append(ids, m.build.sessions()...)
	}
	return session.NewGroup(ids...).SessionIterator()
}

// env is what a step may use of this build alone.
func (b *build) env(v *vertex) *step.Env {
	env := &step.Env{
		Sessions: b.builder.parts.Sessions, Group: session.NewGroup(b.sessions()...), Lease: b.lease,
		Name: v.Name, Platform: v.Platform.Spec(), Limits: b.request.Limits,
		Out:      func(stream int, p []byte) { b.progress.log(v.Digest, stream, append([]byte(nil), p...), time.Now()) },
		Progress: func(s step.Status) { b.begin(v); b.progress.status(v.Digest, s, time.Now()) },
		Warn:     func(short, url string, detail ...string) { b.warn(v, short, url, detail) },
	}
	env.Mount = func(id string) func(ctx context.Context, dir *os.File) error { return b.mount(id, env) }
	return env
}

func (b *build) begin(v *vertex) { b.progress.begin(v.Digest) }

func (b *build) sessions() []string { return b.request.Sessions }

// session is the client's own.
func (b *build) session() string {
	if len(b.request.Sessions) == 0 {
		return ""
	}
	return b.request.Sessions[0]
}

func (b *build) warn(v *vertex, short, url string, detail []string) {
	w := &client.VertexWarning{Vertex: v.Digest, Level: 1, Short: []byte(short), URL: url}
	for _, d := range detail {
		w.Detail = append(w.Detail, []byte(d))
	}
	b.progress.warn(w)
}

// Member implements solve.Watch.
func (b *build) Member(n *node) *watcher { return &watcher{b, b.vertexOf(n)} }

// Known implements solve.Watch.
func (b *build) Known(n *node, key string, cached bool) {
	v := b.vertexOf(n)
	b.mu.Lock()
	b.keys[n] = digest.Digest(key)
	b.mu.Unlock()
	if cached {
		b.progress.cached(v.Digest)
	}
}

// Begin implements solve.Watch.
func (b *build) Begin(n *node) { b.begin(b.vertexOf(n)) }

// End implements solve.Watch.
func (b *build) End(n *node, err error) error {
	v := b.vertexOf(n)
	b.progress.end(v.Digest, err)
	return v.wrap(err, b.remains(err))
}

func (b *build) vertexOf(n *node) *vertex {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.nodes[n]
}
