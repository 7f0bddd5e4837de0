package build

import (
	"context"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/cove-containers/cove/build/step"
)

// Maker makes the step of one operation.
type Maker func(op *pb.Op, v step.Vertex) (step.Op, error)

// Makers are those of every kind of operation.
type Makers struct{ Source, Exec, File, Merge, Diff Maker }

// Resolver finds out what a source is, without fetching it.
type Resolver interface {
	Resolve(ctx context.Context, env *step.Env, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error)
}

// Reader reads what a step has made.
type Reader interface {
	ReadFile(ctx context.Context, ref step.Ref, req gateway.ReadRequest) ([]byte, error)
	StatFile(ctx context.Context, ref step.Ref, req gateway.StatRequest) (*fstypes.Stat, error)
	ReadDir(ctx context.Context, ref step.Ref, req gateway.ReadDirRequest) ([]*fstypes.Stat, error)
}

// Containers runs the containers that front ends ask for. refs has the file system of each mount that names one, by its
// place among the request's mounts.
type Containers interface {
	NewContainer(ctx context.Context, env *step.Env, req gateway.NewContainerRequest, refs map[int]step.Ref) (gateway.Container, error)
}

// Scrapper deletes layers, built or half built.
type Scrapper interface {
	Scrap(ctx context.Context, names ...string) error
}
