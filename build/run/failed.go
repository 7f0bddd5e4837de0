package run

import (
	"context"
	"slices"

	"github.com/moby/buildkit/solver/pb"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/runtime"
)

// failed is the error of a step whose command has failed, with what the command left for whoever wants to look into it. The
// layers keep the times that they have: nothing is ever built on them.
func (b *box) failed(ctx context.Context, mounts []*pb.Mount, in []step.Ref, stubs []runtime.Stub, cause error) error {
	if ctx.Err() != nil {
		return cause
	}
	b.unstub(stubs)
	if err := b.close(); err != nil {
		return cause
	}
	f := &step.Failure{Err: cause, Inputs: make([]*step.Ref, len(mounts))}
	for i, m := range mounts {
		if m.Input >= 0 {
			f.Inputs[i] = &in[m.Input]
		}
	}
	f.Mounts = slices.Clone(f.Inputs)
	for _, w := range b.written {
		if _, err := b.runner.parts.Layers.SealAsIs(ctx, w.name); err != nil {
			return cause
		}
		f.Mounts[w.mount] = &step.Ref{Pile: append(slices.Clone(w.below), w.name)}
	}
	return f
}
