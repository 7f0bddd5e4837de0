package buildkit

import (
	"context"
	"io"
	"log/slog"

	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/build"
)

// Parts are what the door speaks for.
type Parts struct {
	Builder  Builder
	Cache    Cache
	History  History
	Sessions *session.Manager
	// Scratch is a folder on disk for the contexts that classic calls bring, in files without a name.
	Scratch string
	// Entitlements are what clients may allow their builds: "network.host", "security.insecure", "device".
	Entitlements []string
	// Pruned is told how much a prune of the classic API has freed; nil where nobody listens.
	Pruned func(bytes uint64)
	// Log takes what went wrong where the client can no longer be told; nil is slog.Default.
	Log *slog.Logger
}

// Builder builds.
type Builder interface {
	// Solve builds and waits for the end.
	Solve(ctx context.Context, r build.Request) (*build.Response, error)
	// Status tells how a build comes along until it ends, from its beginning however late it is asked.
	Status(ctx context.Context, id string, emit func(*client.SolveStatus) error) error
	// Workers are what can be built here: always one worker.
	Workers() []client.WorkerInfo
}

// Cache is what builds have left for the next ones.
type Cache interface {
	Usage(ctx context.Context, filters []string) ([]*client.UsageInfo, error)
	Prune(ctx context.Context, o client.PruneInfo, emit func(client.UsageInfo) error) error
}

// History is what has been built.
type History interface {
	// Listen tells of the builds there are and, unless EarlyExit is asked for, of those that come.
	Listen(ctx context.Context, r *control.BuildHistoryRequest, emit func(*control.BuildHistoryEvent) error) error
	Update(ctx context.Context, r *control.UpdateBuildHistoryRequest) error
	// Blob opens a log, a provenance or an error that a record of the history names.
	Blob(ctx context.Context, d digest.Digest) (content io.ReadSeekCloser, size int64, err error)
}
