package build

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/cove-containers/cove/build/step"
)

// Ref is what a definition stands for in a build: it implements gateway.Reference. Nothing is run for it until somebody
// needs what it is.
type Ref struct {
	build *build
	def   *pb.Definition
	edge  edge
}

// ref makes a reference; nil for an empty definition, which is scratch.
func (b *build) ref(ctx context.Context, def *pb.Definition, rules []*spb.Policy) (*Ref, error) {
	if def == nil || len(def.Def) == 0 {
		return nil, nil
	}
	all := b.request.Policies
	if len(rules) > 0 {
		all = append(append([]*spb.Policy(nil), all...), rules...)
	}
	e, err := b.load(ctx, def, policies{all})
	if err != nil {
		return nil, err
	}
	return &Ref{build: b, def: def, edge: e}, nil
}

// Definition is what the reference was made of.
func (r *Ref) Definition() *pb.Definition { return r.def }

// ToState implements gateway.Reference.
func (r *Ref) ToState() (llb.State, error) {
	op, err := llb.NewDefinitionOp(r.def)
	if err != nil {
		return llb.State{}, fmt.Errorf("read a definition: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return llb.NewState(op), nil
}

func (r *Ref) evaluate(ctx context.Context) (step.Ref, error) { return r.build.evaluate(ctx, r.edge) }

// Evaluate implements gateway.Reference.
func (r *Ref) Evaluate(ctx context.Context) error {
	_, err := r.evaluate(ctx)
	return err
}

// ReadFile implements gateway.Reference.
func (r *Ref) ReadFile(ctx context.Context, req gateway.ReadRequest) ([]byte, error) {
	ref, err := r.evaluate(ctx)
	if err != nil {
		return nil, err
	}
	return r.build.builder.parts.Reader.ReadFile(ctx, ref, req)
}

// StatFile implements gateway.Reference.
func (r *Ref) StatFile(ctx context.Context, req gateway.StatRequest) (*fstypes.Stat, error) {
	ref, err := r.evaluate(ctx)
	if err != nil {
		return nil, err
	}
	return r.build.builder.parts.Reader.StatFile(ctx, ref, req)
}

// ReadDir implements gateway.Reference.
func (r *Ref) ReadDir(ctx context.Context, req gateway.ReadDirRequest) ([]*fstypes.Stat, error) {
	ref, err := r.evaluate(ctx)
	if err != nil {
		return nil, err
	}
	return r.build.builder.parts.Reader.ReadDir(ctx, ref, req)
}
