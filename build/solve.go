package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"

	"github.com/cove-containers/cove/build/run"
	"github.com/cove-containers/cove/build/step"
)

// Solve builds and returns when everything is where it was asked for, or has failed. When ctx ends, the build does, and
// nothing of it is left but what is in the cache. Errors say in which step, and where in the client's files, as
// github.com/moby/buildkit/solver/errdefs has it.
func (b *Builder) Solve(ctx context.Context, req Request) (_ *Response, err error) {
	ctx, one, err := b.start(ctx, req)
	if err != nil {
		return nil, err
	}
	response := &Response{Exporter: map[string]string{}}
	defer func() { one.finish(response, err) }() // who follows its progress learns of the end, too
	b.history.begin(one)
	if one.request.Limits == nil {
		if one.request.Limits, err = limitsOf(req.Options); err != nil {
			return nil, err
		}
	}
	if l := one.request.Limits; l != nil && l.NetworkMode == "host" {
		if err := run.Entitled(&pb.ExecOp{Network: pb.NetMode_HOST}, req.Entitlements); err != nil {
			return nil, err
		}
	}
	targets, err := b.targets(req)
	if err == nil {
		err = b.checkCaches(req)
	}
	if err != nil {
		return nil, err
	}
	for _, entry := range req.CacheImports {
		if err := one.importCache(ctx, entry); err != nil {
			return nil, err
		}
	}
	res, err := one.result(ctx)
	if err != nil {
		return nil, one.reason(ctx, err)
	}
	outcome, err := one.outcome(ctx, res)
	if err != nil {
		return nil, one.reason(ctx, err)
	}
	for k, v := range outcome.Metadata {
		if strings.HasPrefix(k, "frontend.") { // the rest is between front end and exporters
			response.Exporter[k] = string(v)
		}
	}
	if err := one.deliver(ctx, outcome, targets, response); err != nil {
		return nil, one.reason(ctx, err)
	}
	one.tellProvenance(outcome, response)
	return response, nil
}

// reason is why a build was cancelled, where that is why it failed.
func (b *build) reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	if !utf8.ValidString(err.Error()) {
		return legibleError{err}
	}
	return err
}

// result asks the front end what to build.
func (b *build) result(ctx context.Context) (*gateway.Result, error) {
	own := &bridge{build: b, options: b.request.Options, inputs: b.request.Inputs}
	switch {
	case b.request.Front != nil:
		return b.request.Front(ctx, own)
	case b.request.FrontEnd != "":
		return b.callFront(ctx, b.request.FrontEnd, b.request.Options, b.request.Inputs)
	}
	return own.Solve(ctx, gateway.SolveRequest{Definition: b.request.Definition})
}

// Outcome is what a build gave, before it is brought to where it was asked for.
type Outcome struct {
	// Refs are the file systems by the IDs of their platforms; "" when no platform in particular was asked for.
	Refs map[string]step.Ref
	// Metadata is what the front end says of them, in the words of BuildKit's exptypes.
	Metadata map[string][]byte
	// Attestations are those of the front end, by the IDs of platforms. Their references are evaluated: see Resolve.
	Attestations map[string][]gateway.Attestation
	// Build is the request, for attestations that tell how it was built, and Started when it came.
	Build   Request
	Started time.Time
	// FrontEnd was asked for it, with these options, by the client or by a front end of the client's.
	FrontEnd string
	Options  map[string]string
	// Asked is what the front end's references stand for, by the same IDs as Refs; nil for scratch.
	Asked map[string]gateway.Reference
	// Steps are all steps that were looked at.
	Steps []step.Done
}

// outcome evaluates everything the front end has named.
func (b *build) outcome(ctx context.Context, res *gateway.Result) (*Outcome, error) {
	if res == nil {
		res = gateway.NewResult()
	}
	out := &Outcome{Refs: map[string]step.Ref{}, Metadata: res.Metadata, Attestations: res.Attestations, Build: b.request, Started: b.created}
	named := map[string]gateway.Reference{}
	out.Asked = named
	b.mu.Lock()
	out.FrontEnd, out.Options = b.front.name, b.front.options
	b.mu.Unlock()
	for id, r := range res.Refs {
		named[id] = r
	}
	if len(res.Refs) == 0 {
		named[""] = res.Ref
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for id, r := range named {
		group.Go(func() error {
			ref, err := Resolve(ctx, r)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			out.Refs[id] = ref
			return nil
		})
	}
	for _, list := range res.Attestations {
		for _, a := range list {
			group.Go(func() error {
				_, err := Resolve(ctx, a.Ref)
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out.Steps = b.done(ctx)
	return out, nil
}

// Resolve evaluates a reference that came from a gateway client of this builder; nil is scratch.
func Resolve(ctx context.Context, r gateway.Reference) (step.Ref, error) {
	if r == nil {
		return step.Ref{}, nil
	}
	own, ok := r.(*Ref)
	if !ok {
		return step.Ref{}, fmt.Errorf("a reference of another builder: %w", errdefs.ErrInvalidArgument)
	}
	if own == nil {
		return step.Ref{}, nil
	}
	return own.evaluate(ctx)
}

// Target is a place where an outcome is to go.
type Target interface {
	// Name is what clients see while it goes there.
	Name() string
	// Export brings it there, and tells what it has become in the words of BuildKit's exporters.
	Export(ctx context.Context, env *step.Env, out *Outcome) (map[string]string, error)
}

// targets reads what the client says of its exporters, before anything is run for it.
func (b *Builder) targets(req Request) ([]Target, error) {
	var out []Target
	for i, e := range req.Exporters {
		if b.parts.Target == nil {
			return nil, fmt.Errorf("exporter %q could not be found: %w", e.Type, errdefs.ErrNotFound)
		}
		t, err := b.parts.Target(i, e.Type, e.Attrs)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// deliver brings an outcome to its targets, one after the other, as clients expect their progress.
func (b *build) deliver(ctx context.Context, out *Outcome, targets []Target, response *Response) error {
	if b.builder.parts.Attest != nil && len(targets) > 0 {
		if err := b.builder.parts.Attest(ctx, &bridge{build: b, options: b.request.Options, inputs: b.request.Inputs}, out); err != nil {
			return err
		}
	}
	exports := b.cacheExports(ctx, out)
	for _, t := range targets {
		var told map[string]string
		err := b.task(ctx, t.Name(), func(ctx context.Context, env *step.Env) (err error) {
			told, err = t.Export(ctx, env, out)
			return err
		})
		if err != nil {
			return err
		}
		for k, v := range told {
			response.Exporter[k] = v
		}
	}
	return exports(response)
}

// Attest adds attestations to an outcome; it may have the front end's client solve more.
type Attest func(ctx context.Context, front gateway.Client, out *Outcome) error

// Provenance tells where one of an outcome's file systems comes from: the type of the statement and what it states.
type Provenance func(out *Outcome, platform string) (kind string, predicate []byte, err error)

// tellProvenance leaves to the history where what was built comes from.
func (b *build) tellProvenance(out *Outcome, response *Response) {
	tell := b.builder.parts.Provenance
	if tell == nil || b.request.Internal {
		return
	}
	for id := range out.Refs {
		kind, body, err := tell(out, id)
		var d *control.Descriptor
		if err == nil {
			d, err = b.builder.history.keep(body, "application/vnd.in-toto+json")
		}
		if err != nil {
			slog.Warn("the provenance of a build is not kept", "ref", b.id, "error", err)
			continue
		}
		d.Annotations = map[string]string{"in-toto.io/predicate-type": kind}
		info := &control.BuildResultInfo{Attestations: []*control.Descriptor{d}}
		if id == "" {
			response.result = info
			continue
		}
		if response.results == nil {
			response.results = map[string]*control.BuildResultInfo{}
		}
		response.results[id] = info
	}
}

// kept is what the history shows of a response.
type kept struct {
	result  *control.BuildResultInfo
	results map[string]*control.BuildResultInfo
}
