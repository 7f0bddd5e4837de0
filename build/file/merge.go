package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/layer"
)

// Merge makes the step that lays file systems on one another.
func (m *Maker) Merge(op *pb.MergeOp) step.Op { return &merge{m.parts, op} }

type merge struct {
	parts Parts
	op    *pb.MergeOp
}

func (m *merge) Key(context.Context, *step.Env) (step.Key, error) {
	return opKey("merge.1", m.op)
}

func opKey(version string, op interface{ MarshalVT() ([]byte, error) }) (step.Key, error) {
	raw, err := op.MarshalVT()
	if err != nil {
		return step.Key{}, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s", version, raw)
	return step.Key{Digest: digest.NewDigest(digest.SHA256, h)}, nil
}

// Run needs no copies where layers fit anywhere, as those of COPY --link do.
func (m *merge) Run(ctx context.Context, env *step.Env, in []step.Ref) (step.Outcome, error) {
	var pile layer.Pile
	for _, ref := range in {
		over := ref.Pile
		if len(pile) > 0 && !m.parts.Layers.Movable(over) {
			var err error
			if over, err = loosen(ctx, m.parts.Layers, env, over, len(over)); err != nil {
				return step.Outcome{}, err
			}
		}
		pile = append(slices.Clip(pile), over...)
	}
	return step.Outcome{Refs: []step.Ref{{Pile: pile}}}, nil
}

// loosen makes of the topmost layers of a pile, so many, one that fits on any other pile: what they change, and nothing
// about what lies below.
func loosen(ctx context.Context, layers *layer.Store, env *step.Env, p layer.Pile, top int) (layer.Pile, error) {
	name := env.Lease.Name()
	if err := layers.Build(ctx, name, nil); err != nil {
		return nil, err
	}
	root, err := layers.Root(ctx, name)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := layers.PackPile(ctx, w, p, top)
		w.CloseWithError(err)
		done <- err
	}()
	_, err = archive.Unpack(ctx, root.Dir, r, archive.Options{Whiteouts: true})
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	r.CloseWithError(err)
	if packed := <-done; err == nil {
		err = packed
	}
	if err = errors.Join(err, root.Close()); err != nil {
		return nil, fmt.Errorf("make layers fit on others: %w", err)
	}
	if _, err := layers.Seal(ctx, name); err != nil {
		return nil, err
	}
	return layer.Pile{name}, nil
}

// Diff makes the step that tells what one file system has more, or less, than another.
func (m *Maker) Diff(op *pb.DiffOp) step.Op { return &diff{m.parts, op} }

type diff struct {
	parts Parts
	op    *pb.DiffOp
}

func (d *diff) Key(context.Context, *step.Env) (step.Key, error) { return opKey("diff.1", d.op) }

func (d *diff) Run(ctx context.Context, env *step.Env, in []step.Ref) (step.Outcome, error) {
	var lower, upper layer.Pile
	if d.op.GetLower().GetInput() != int64(pb.Empty) && len(in) > 0 {
		lower, in = in[0].Pile, in[1:]
	}
	if d.op.GetUpper().GetInput() != int64(pb.Empty) && len(in) > 0 {
		upper = in[0].Pile
	}
	pile, err := d.between(ctx, env, lower, upper)
	return step.Outcome{Refs: []step.Ref{{Pile: pile}}}, err
}

func (d *diff) between(ctx context.Context, env *step.Env, lower, upper layer.Pile) (layer.Pile, error) {
	n := len(lower)
	if len(upper) < n || !slices.Equal(upper[:n], lower) {
		return d.compare(ctx, env, lower, upper)
	}
	top := upper[n:]
	if len(top) == 0 || d.parts.Layers.Movable(top) {
		return top, nil
	}
	return loosen(ctx, d.parts.Layers, env, upper, len(top))
}
