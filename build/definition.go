package build

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/sourcepolicy"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/moby/buildkit/util/apicaps"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/build/run"
	"github.com/cove-containers/cove/build/solve"
	"github.com/cove-containers/cove/build/step"
)

type (
	policy = *spb.Policy
	node   = solve.Node[step.Ref, *watcher]
	edge   = solve.Edge[step.Ref, *watcher]
)

// vertex is one operation of a definition.
type vertex struct {
	step.Vertex
	meta   *pb.OpMetadata
	inputs []digest.Digest
	source *pb.Source // where it stands in the files that the client wrote
	node   *node
}

// maxOperations bounds a definition: a Dockerfile of ten megabytes stays far below.
const maxOperations = 200_000

// parse reads the operations of a definition, by digest, and tells which one is the last.
func parse(def *pb.Definition) (map[digest.Digest]*pb.Op, *pb.Op, error) {
	if len(def.Def) > maxOperations {
		return nil, nil, invalid("definition of %d operations: at most %d are taken", len(def.Def), maxOperations)
	}
	if err := checkLocations(def.Source); err != nil {
		return nil, nil, err
	}
	caps := pb.Caps.CapSet(LLBCaps())
	for _, m := range def.Metadata {
		for c := range m.GetCaps() {
			if err := caps.Supports(apicaps.CapID(c)); err != nil {
				return nil, nil, fmt.Errorf("failed to load LLB: %w: %w", err, errdefs.ErrInvalidArgument)
			}
		}
	}
	ops := make(map[digest.Digest]*pb.Op, len(def.Def))
	var last *pb.Op
	for _, raw := range def.Def {
		op := &pb.Op{}
		if err := op.UnmarshalVT(raw); err != nil {
			return nil, nil, invalid("failed to parse llb proto op: %v", err)
		}
		for i, in := range op.Inputs {
			if in == nil || in.Index < 0 {
				return nil, nil, invalid("invalid input %d", i)
			}
		}
		ops[digest.FromBytes(raw)], last = op, op
	}
	if last == nil {
		return nil, nil, invalid("invalid empty definition")
	}
	if len(last.Inputs) == 0 {
		return nil, nil, invalid("invalid LLB with no inputs on last vertex")
	}
	return ops, last, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("failed to load LLB: "+format+": %w", append(args, errdefs.ErrInvalidArgument)...)
}

func checkLocations(src *pb.Source) error {
	for dgst, list := range src.GetLocations() {
		for i, at := range list.GetLocations() {
			if at == nil || at.SourceIndex < 0 || int(at.SourceIndex) >= len(src.Infos) {
				return invalid("invalid source location %d for vertex %s", i, dgst)
			}
		}
	}
	return nil
}

// load makes the steps of a definition, as far as the build does not have them yet, and gives the edge it ends in.
func (b *build) load(ctx context.Context, def *pb.Definition, rules policies) (edge, error) {
	ops, last, err := parse(def)
	if err != nil {
		return edge{}, err
	}
	if err := rules.apply(ctx, ops); err != nil {
		return edge{}, err
	}
	l := loader{build: b, def: def, ops: ops, salt: rules.fingerprint()}
	b.mu.Lock()
	defer b.mu.Unlock()
	v, err := l.vertex(digest.Digest(last.Inputs[0].Digest))
	if err != nil {
		return edge{}, err
	}
	b.progress.announce(l.fresh)
	return edge{Node: v.node, Output: int(last.Inputs[0].Index)}, nil
}

// loader is the loading of one definition.
type loader struct {
	build *build
	def   *pb.Definition
	ops   map[digest.Digest]*pb.Op
	salt  string
	fresh []*vertex
}

// vertexKey tells vertices of a build apart: the same operation may be wanted anew by one definition and under other
// rules by another.
type vertexKey struct {
	digest digest.Digest
	anew   bool
	rules  string
}

// vertex gives the vertex of a digest, making those below first. Cycles cannot be: a digest contains those of its inputs.
func (l *loader) vertex(dgst digest.Digest) (*vertex, error) {
	op, ok := l.ops[dgst]
	if !ok {
		return nil, invalid("invalid missing input digest %s", dgst)
	}
	meta := l.def.Metadata[string(dgst)]
	key := vertexKey{dgst, meta.GetIgnoreCache(), l.salt}
	if v, ok := l.build.vertices[key]; ok {
		return v, nil
	}
	v := &vertex{meta: meta, source: l.def.Source, node: &node{Anew: key.anew}}
	v.NoCache = key.anew
	v.Digest, v.Op, v.Description, v.Constraints = dgst, op, meta.GetDescription(), op.Constraints
	var below []*vertex
	for _, in := range op.Inputs {
		sub, err := l.vertex(digest.Digest(in.Digest))
		if err != nil {
			return nil, err
		}
		below = append(below, sub)
		v.inputs = append(v.inputs, sub.Digest)
		v.node.Inputs = append(v.node.Inputs, edge{Node: sub.node, Output: int(in.Index)})
	}
	if v.Name = v.Description["llb.customname"]; v.Name == "" {
		v.Name = operationName(op, below)
	}
	v.Platform = normalize(op.Platform)
	if l.distrusted(dgst) {
		v.Op = whole(op)
	}
	made, err := l.build.make(v)
	if err != nil {
		return nil, v.wrap(err, remains{})
	}
	v.node.Work = &work{build: l.build, vertex: v, op: made}
	l.build.vertices[key] = v
	l.build.nodes[v.node] = v
	l.fresh = append(l.fresh, v)
	return v, nil
}

// distrusted tells that something that is wanted anew stands on a folder of the client's: then that is read anew as well.
func (l *loader) distrusted(folder digest.Digest) bool {
	if !strings.HasPrefix(l.ops[folder].GetSource().GetIdentifier(), "local://") {
		return false
	}
	for dgst, op := range l.ops {
		if !l.def.Metadata[string(dgst)].GetIgnoreCache() {
			continue
		}
		for _, in := range op.Inputs {
			if in.Digest == string(folder) {
				return true
			}
		}
	}
	return false
}

// whole is the transfer of a folder of which every file is sent, whatever its time says.
func whole(op *pb.Op) *pb.Op {
	source := op.GetSource().CloneVT()
	if source.Attrs == nil {
		source.Attrs = map[string]string{}
	}
	source.Attrs[pb.AttrLocalDiffer] = pb.AttrLocalDifferNone
	return &pb.Op{Op: &pb.Op_Source{Source: source}, Inputs: op.Inputs, Platform: op.Platform, Constraints: op.Constraints}
}

// normalize gives platforms the form that keys are made of; the machine's own where none is given.
func normalize(p *pb.Platform) *pb.Platform {
	spec := platforms.DefaultSpec()
	if p != nil {
		spec = p.Spec()
	}
	n := platforms.Normalize(spec)
	return &pb.Platform{OS: n.OS, Architecture: n.Architecture, Variant: n.Variant, OSVersion: n.OSVersion, OSFeatures: n.OSFeatures}
}

// make makes the step of a vertex.
func (b *build) make(v *vertex) (step.Op, error) {
	m := b.builder.parts.Make
	var maker Maker
	switch op := v.Op.Op.(type) {
	case *pb.Op_Source:
		maker = m.Source
	case *pb.Op_Exec:
		if op.Exec == nil || op.Exec.Meta == nil {
			return nil, invalid("invalid exec op with no meta")
		}
		if err := run.Entitled(op.Exec, b.request.Entitlements); err != nil {
			return nil, err
		}
		maker = m.Exec
	case *pb.Op_File:
		maker = m.File
	case *pb.Op_Merge:
		maker = m.Merge
	case *pb.Op_Diff:
		maker = m.Diff
	case *pb.Op_Build:
		return nil, fmt.Errorf("definitions inside of definitions (BuildOp) are not solved: send the inner one as a request of its own: %w", errdefs.ErrNotImplemented)
	}
	if maker == nil {
		return nil, fmt.Errorf("could not resolve op %T: %w", v.Op.Op, errdefs.ErrNotImplemented)
	}
	return maker(v.Op, v.Vertex)
}

// policies are rules that a client gives for sources: which to deny, and which to take others for.
type policies struct{ list []policy }

func (p policies) fingerprint() string {
	if len(p.list) == 0 {
		return ""
	}
	h := digest.Canonical.Digester()
	for _, one := range p.list {
		raw, _ := one.MarshalVT() // of what was unmarshalled
		fmt.Fprintf(h.Hash(), "%d %s", len(raw), raw)
	}
	return h.Digest().String()
}

// check refuses rules that are not whole.
func (p policies) check() error {
	for _, one := range p.list {
		if one == nil {
			return invalid("invalid nil policy")
		}
		for _, r := range one.Rules {
			if r == nil || r.Selector == nil {
				return invalid("invalid rule in source policy")
			}
			for _, c := range r.Selector.Constraints {
				if c == nil {
					return invalid("invalid constraint in source policy")
				}
			}
		}
	}
	return nil
}

func (p policies) apply(ctx context.Context, ops map[digest.Digest]*pb.Op) error {
	if len(p.list) == 0 {
		return nil
	}
	if err := p.check(); err != nil {
		return err
	}
	engine := sourcepolicy.NewEngine(p.list)
	for _, op := range ops {
		if src := op.GetSource(); src != nil {
			if err := evaluate(ctx, engine, src); err != nil {
				return err
			}
		}
	}
	return nil
}

func evaluate(ctx context.Context, engine *sourcepolicy.Engine, src *pb.SourceOp) error {
	if _, err := engine.Evaluate(ctx, src); err != nil {
		if errors.Is(err, sourcepolicy.ErrSourceDenied) {
			return fmt.Errorf("error evaluating the source policy: %w: %w", err, errdefs.ErrPermissionDenied)
		}
		return fmt.Errorf("error evaluating the source policy: %w", err)
	}
	return nil
}
