package server

import (
	"context"
	"log/slog"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/logs"
)

// Parts are what the API speaks for. Each is an interface no larger than the calls that use it, so that a test can
// stand in for it; the daemon gives the engine for most and keepers for the rest.
type Parts struct {
	Lives   Lives
	Course  Course
	Streams Streams
	Execs   Execs
	// Log takes what went wrong where the client can no longer be told; nil is slog.Default.
	Log *slog.Logger
}

// Lives makes, starts and ends containers.
type Lives interface {
	ContainerCreate(ctx context.Context, o engine.CreateOptions) (ct.CreateResponse, error)
	ContainerStart(ctx context.Context, ref string) error
	ContainerStop(ctx context.Context, ref, signal string, timeout *int) error
	ContainerRestart(ctx context.Context, ref, signal string, timeout *int) error
	ContainerRemove(ctx context.Context, ref string, o engine.RemoveOptions) error
}

// Course changes what goes on in a container.
type Course interface {
	ContainerKill(ctx context.Context, ref, signal string) error
	ContainerPause(ctx context.Context, ref string) error
	ContainerUnpause(ctx context.Context, ref string) error
	ContainerRename(ctx context.Context, ref, name string) error
	ContainerUpdate(ctx context.Context, ref string, u ct.UpdateConfig) (ct.UpdateResponse, error)
}

// Streams are the connections to a container that stay open.
type Streams interface {
	ContainerAttach(ctx context.Context, ref string, o engine.AttachOptions) error
	ContainerLogs(ctx context.Context, ref string, o engine.LogsOptions, open func(tty bool) error, emit func(line logs.Line, prefix string) error) error
	ContainerResize(ctx context.Context, ref string, height, width uint) error
	ContainerWait(ctx context.Context, ref string, condition ct.WaitCondition) (<-chan ct.WaitResponse, error)
	ContainerStats(ctx context.Context, ref string, stream, oneShot bool, emit func(ct.StatsResponse) error) error
}

// Execs run commands in running containers.
type Execs interface {
	ExecCreate(ctx context.Context, ref string, r ct.ExecCreateRequest) (string, error)
	ExecStart(ctx context.Context, execID string, o engine.ExecStartOptions) error
	ExecResize(ctx context.Context, execID string, height, width uint) error
	ExecInspect(ctx context.Context, execID string) (ct.ExecInspectResponse, error)
}
