package build

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/sourcepolicy"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/moby/buildkit/util/apicaps"
	capspb "github.com/moby/buildkit/util/apicaps/pb"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/build/run"
	"github.com/cove-containers/cove/build/step"
)

// bridge is a build as its front end sees it.
type bridge struct {
	build   *build
	options map[string]string
	inputs  map[string]*pb.Definition
}

// BuildOpts implements gateway.Client.
func (g *bridge) BuildOpts() gateway.BuildOpts {
	return gateway.BuildOpts{
		Opts: g.options, SessionID: g.build.session(), Workers: g.build.builder.gatewayWorkers(), Product: apicaps.ExportedProduct,
		LLBCaps: pb.Caps.CapSet(LLBCaps()), Caps: gwpb.Caps.CapSet(gwpb.Caps.All()),
	}
}

// notHere are what definitions and front ends may not ask for: caches in clouds that are spoken to by protocols of their own.
var notHere = map[string]bool{
	string(pb.CapRemoteCacheGHA): true, string(pb.CapRemoteCacheS3): true, string(pb.CapRemoteCacheAzBlob): true,
}

// LLBCaps is what definitions may ask for.
func LLBCaps() []*capspb.APICap {
	return slices.DeleteFunc(pb.Caps.All(), func(c *capspb.APICap) bool { return notHere[c.ID] })
}

// Inputs implements gateway.Client.
func (g *bridge) Inputs(context.Context) (map[string]llb.State, error) {
	out := map[string]llb.State{}
	for name, def := range g.inputs {
		op, err := llb.NewDefinitionOp(def)
		if err != nil {
			return nil, fmt.Errorf("read the definition of input %s: %w: %w", name, err, errdefs.ErrInvalidArgument)
		}
		out[name] = llb.NewState(op)
	}
	return out, nil
}

// Warn implements gateway.Client.
func (g *bridge) Warn(_ context.Context, dgst digest.Digest, msg string, opts gateway.WarnOpts) error {
	level := opts.Level
	if level == 0 {
		level = 1
	}
	g.build.progress.warn(&client.VertexWarning{
		Vertex: dgst, Level: level, Short: []byte(msg), Detail: opts.Detail, URL: opts.URL, SourceInfo: opts.SourceInfo, Range: opts.Range,
	})
	return nil
}

// Solve implements gateway.Client. References are evaluated when somebody needs what they stand for.
func (g *bridge) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	if req.Definition != nil && req.Frontend != "" {
		return nil, invalid("cannot solve with both Definition and Frontend specified")
	}
	for _, entry := range req.CacheImports {
		if err := g.build.importCache(ctx, entry); err != nil {
			return nil, err
		}
	}
	if req.Frontend != "" {
		return g.build.callFront(ctx, req.Frontend, req.FrontendOpt, req.FrontendInputs)
	}
	res := gateway.NewResult()
	ref, err := g.build.ref(ctx, req.Definition, req.SourcePolicies)
	if err != nil || ref == nil {
		return res, err
	}
	res.SetRef(ref)
	if req.Evaluate {
		if err := ref.Evaluate(ctx); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// front calls a front end by name. There is one: what others would do, a client does with definitions of its own.
func (b *build) callFront(ctx context.Context, name string, options map[string]string, inputs map[string]*pb.Definition) (*gateway.Result, error) {
	switch name {
	case "dockerfile.v0":
	case "gateway.v0":
		source := options["source"]
		if source == "" {
			return nil, invalid("no source specified for gateway")
		}
		if source != "dockerfile.v0" && !isDockerfile(source) {
			return nil, fmt.Errorf("front end %q is an image: Cove has the Dockerfile front end built in and runs no other; remove the line \"# syntax=\" or name docker/dockerfile there: %w", source, errdefs.ErrNotImplemented)
		}
		options = maps.Clone(options)
		delete(options, "source")
		if options["cmdline"] == "" { // it says that the line "# syntax=" has been followed
			options["cmdline"] = source
		}
	default:
		return nil, fmt.Errorf("frontend %s not found: %w", name, errdefs.ErrNotFound)
	}
	b.mu.Lock()
	if b.front.name == "" {
		b.front.name, b.front.options = name, options
	}
	b.mu.Unlock()
	own := &reader{bridge: &bridge{build: b, options: withoutOwn(options), inputs: inputs}}
	res, err := builder.Build(ctx, own)
	if err == nil {
		own.warnUnconsumed(ctx)
	}
	return res, err
}

// withoutOwn takes out what is not the front end's business: attestations are made here, but for a bill of materials that
// the client wants from a scanner of its choice.
func withoutOwn(options map[string]string) map[string]string {
	own := maps.Clone(options)
	for name, value := range options {
		if strings.HasPrefix(name, "run:") { // binds RUN, see limitsOf
			delete(own, name)
		}
		name = strings.TrimPrefix(name, "build-arg:BUILDKIT_ATTEST_")
		name = strings.ToLower(strings.TrimPrefix(name, "attest:"))
		if name == "provenance" || name == "sbom" && !strings.Contains(value, "generator=") {
			delete(own, "attest:"+name)
			delete(own, "build-arg:BUILDKIT_ATTEST_"+strings.ToUpper(name))
		}
	}
	return own
}

// isDockerfile tells whether an image is the Dockerfile front end that is built in here.
func isDockerfile(name string) bool {
	name, _, _ = strings.Cut(name, "@")
	if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
		name = name[:at]
	}
	for _, prefix := range []string{"docker.io/", "index.docker.io/", "registry-1.docker.io/"} {
		name = strings.TrimPrefix(name, prefix)
	}
	return name == "docker/dockerfile" || name == "docker/dockerfile-upstream"
}

// ResolveSourceMetadata implements gateway.Client.
func (g *bridge) ResolveSourceMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	rules := g.build.request.Policies
	if len(opt.SourcePolicies) > 0 {
		rules = append(append([]*spb.Policy(nil), rules...), opt.SourcePolicies...)
	}
	if len(rules) > 0 {
		if err := (policies{rules}).check(); err != nil {
			return nil, err
		}
		op = op.CloneVT()
		if err := evaluate(ctx, sourcepolicy.NewEngine(rules), op); err != nil {
			return nil, fmt.Errorf("could not resolve image due to policy: %w", err)
		}
	}
	opt.SourcePolicies = nil
	if opt.LogName == "" {
		opt.LogName = "resolve image config for " + op.Identifier
	}
	var out *sourceresolver.MetaResponse
	err := g.build.task(ctx, opt.LogName, func(ctx context.Context, env *step.Env) (err error) {
		out, err = g.build.builder.parts.Resolver.Resolve(ctx, env, op, opt)
		return err
	})
	return out, err
}

// ResolveImageConfig implements gateway.Client.
func (g *bridge) ResolveImageConfig(ctx context.Context, name string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return sourceresolver.NewImageMetaResolver(g).ResolveImageConfig(ctx, name, opt)
}

// NewContainer implements gateway.Client.
func (g *bridge) NewContainer(ctx context.Context, req gateway.NewContainerRequest) (gateway.Container, error) {
	if err := run.Entitled(&pb.ExecOp{Network: req.NetMode}, g.build.request.Entitlements); err != nil {
		return nil, err
	}
	refs := map[int]step.Ref{}
	for i, m := range req.Mounts {
		if m.Ref == nil {
			if m.ResultID == "" {
				continue
			}
			ref, err := g.build.remnant(m.ResultID)
			if err != nil {
				return nil, fmt.Errorf("mount %s: %w", m.Dest, err)
			}
			refs[i] = ref
			continue
		}
		own, ok := m.Ref.(*Ref)
		if !ok {
			return nil, fmt.Errorf("mount %s: a reference of another builder: %w", m.Dest, errdefs.ErrInvalidArgument)
		}
		ref, err := own.evaluate(ctx)
		if err != nil {
			return nil, err
		}
		refs[i] = ref
	}
	v := &vertex{}
	v.Name, v.Platform = "container", normalize(req.Platform)
	made, err := g.build.builder.parts.Containers.NewContainer(ctx, g.build.env(v), req, refs)
	if err != nil {
		return nil, err
	}
	return &entitled{made, g.build.request.Entitlements}, nil
}

// entitled is a container whose processes get no more rights than the steps of its build.
type entitled struct {
	gateway.Container
	granted []string
}

// Start implements gateway.Container.
func (c *entitled) Start(ctx context.Context, req gateway.StartRequest) (gateway.ContainerProcess, error) {
	if err := run.Entitled(&pb.ExecOp{Security: req.SecurityMode}, c.granted); err != nil {
		return nil, err
	}
	return c.Container.Start(ctx, req)
}
