package build

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/identity"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/build/run"
	"github.com/cove-containers/cove/build/solve"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
)

// build is one build under way.
type build struct {
	id       string
	builder  *Builder
	request  Request
	lease    *cache.Lease
	tape     *tape
	progress *progress
	cancel   context.CancelCauseFunc
	job      *solve.Job[step.Ref, *watcher]
	created  time.Time
	left     chan struct{} // closed when the build is over and history

	mu        sync.Mutex
	vertices  map[vertexKey]*vertex
	nodes     map[*node]*vertex
	keys      map[*node]digest.Digest
	tops      map[*node]bool
	remnants  map[string]step.Ref // what failed commands left, by the names that the client has for it
	imports   map[string]bool     // cache imports that were asked for
	finders   []foreign
	forgone   map[digest.Digest]bool   // what imports have promised in vain
	hearsay   map[digest.Digest]string // keys that the import of this origin has given for others
	credulous bool                     // something of an import has counted
	front     struct {                 // the first front end that was called
		name    string
		options map[string]string
	}
}

// start begins a build; its end is finish.
func (b *Builder) start(ctx context.Context, req Request) (context.Context, *build, error) {
	if req.ID == "" {
		req.ID = identity.NewID()
	}
	for _, e := range req.Entitlements {
		if name, _, _ := strings.Cut(e, "="); name != run.NetworkHost && name != run.SecurityInsecure && name != run.DeviceAccess {
			return nil, nil, invalid("unknown entitlement %q", e)
		}
	}
	if err := (policies{req.Policies}).check(); err != nil {
		return nil, nil, err
	}
	t, err := newTape(filepath.Join(b.parts.Config.Root, "live", identity.NewID()))
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	one := &build{
		id: req.ID, builder: b, request: req, tape: t, progress: newProgress(t), cancel: cancel, created: time.Now(), left: make(chan struct{}),
		vertices: map[vertexKey]*vertex{}, nodes: map[*node]*vertex{}, keys: map[*node]digest.Digest{},
		tops: map[*node]bool{}, remnants: map[string]step.Ref{}, imports: map[string]bool{}, forgone: map[digest.Digest]bool{}, hearsay: map[digest.Digest]string{},
	}
	one.job = b.solver.Job(one)
	if err := b.enter(one); err != nil {
		cancel(nil)
		t.discard()
		return nil, nil, err
	}
	one.lease = b.parts.Cache.Lease()
	return ctx, one, nil
}

// finish lets go of everything the build has held.
func (b *build) finish(response *Response, failed error) {
	b.cancel(nil)
	b.builder.history.end(b, response, failed)
	b.builder.scrap(b.lease.Release())
	b.builder.leave(b)
	select {
	case b.builder.collect <- struct{}{}:
	default:
	}
}

// evaluate gives what an edge stands for.
func (b *build) evaluate(ctx context.Context, e edge) (step.Ref, error) {
	b.mu.Lock()
	b.tops[e.Node] = true
	b.mu.Unlock()
	ref, err := b.job.Evaluate(ctx, e)
	if err != nil && ctx.Err() != nil {
		return ref, fmt.Errorf("%w", context.Cause(ctx))
	}
	return ref, err
}
