package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/checkpoint"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"
	it "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	nt "github.com/moby/moby/api/types/network"
	st "github.com/moby/moby/api/types/system"
	vt "github.com/moby/moby/api/types/volume"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/files"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/logs"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/snapshot"
)

// Parts are what the API speaks for. Each is an interface no larger than the calls that use it, so that a test can
// stand in for it; the daemon gives the engine for most and keepers for the rest.
type Parts struct {
	Lives        Lives
	Course       Course
	Checkpoints  Checkpoints
	Streams      Streams
	Execs        Execs
	Containers   Containers
	Files        Files
	System       System
	Housekeeping Housekeeping
	Images       Images
	Statements   Statements
	Transfers    Transfers
	Captures     Captures
	Snapshots    Snapshots
	Volumes      Volumes
	Networks     Networks
	Endpoints    Endpoints
	Registry     Registry
	BuildKit     BuildKit
	Builds       Builds
	// Experimental is told to clients, also where nothing needs it.
	Experimental bool
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

// Checkpoints keep states of containers and start containers from them.
type Checkpoints interface {
	HasCriu() bool
	CheckpointCreate(ctx context.Context, ref string, request checkpoint.CreateRequest) error
	CheckpointList(ctx context.Context, ref, dir string) ([]checkpoint.Summary, error)
	CheckpointRemove(ctx context.Context, ref, name, dir string) error
	ContainerRestore(ctx context.Context, ref, name, dir string) error
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

// Containers tells what containers there are and how they fare.
type Containers interface {
	ContainerList(ctx context.Context, o engine.ListOptions) ([]ct.Summary, error)
	ContainerInspect(ctx context.Context, ref string, size bool) (api.Container, error)
	ContainerTop(ctx context.Context, ref, psArgs string) (ct.TopResponse, error)
	ContainerChanges(ctx context.Context, ref string) ([]ct.FilesystemChange, error)
	ContainersPrune(ctx context.Context, f api.Filters) (ct.PruneReport, error)
}

// Files copies files into and out of containers.
type Files interface {
	Stat(ctx context.Context, ref, path string) (ct.PathStat, error)
	CopyOut(ctx context.Context, ref, path string, begin func(ct.PathStat) io.Writer, line files.Line) error
	CopyIn(ctx context.Context, ref, path string, r io.Reader, o files.InOptions, line files.Line) error
	Export(ctx context.Context, ref string, begin func() io.Writer, line files.Line) error
}

// System tells of the engine itself.
type System interface {
	Info(ctx context.Context) (st.Info, error)
	Version(ctx context.Context) (st.VersionResponse, error)
	Events(ctx context.Context, o engine.EventsOptions, emit func(et.Message) error) error
}

// Housekeeping measures and checks what the engine keeps.
type Housekeeping interface {
	DiskUsage(ctx context.Context, o api.UsageOptions) (st.DiskUsage, error)
	Check(ctx context.Context, o api.CheckOptions) (api.CheckReport, error)
}

// Images are the images that are here.
type Images interface {
	List(ctx context.Context, o image.ListOptions) ([]it.Summary, error)
	Inspect(ctx context.Context, ref string, platform *ocispec.Platform, manifests bool) (it.InspectResponse, error)
	History(ctx context.Context, ref string, platform *ocispec.Platform) ([]it.HistoryResponseItem, error)
	Remove(ctx context.Context, ref string, o image.RemoveOptions) ([]it.DeleteResponse, error)
	Prune(ctx context.Context, f api.Filters) (it.PruneReport, error)
}

// Statements are what is said about images.
type Statements interface {
	Attestations(ctx context.Context, ref string, o image.AttestationOptions) ([]it.AttestationStatement, error)
}

// Transfers bring images in and out, and name them.
type Transfers interface {
	Pull(ctx context.Context, ref string, o image.PullOptions) (*image.Image, error)
	Push(ctx context.Context, ref string, o image.PushOptions) error
	Load(ctx context.Context, r io.Reader, o image.LoadOptions) error
	Save(ctx context.Context, names []string, platforms []ocispec.Platform, w io.Writer) error
	Tag(ctx context.Context, source, target string) error
}

// Captures make images of containers and of archives of files.
type Captures interface {
	Commit(ctx context.Context, container string, o snapshot.CommitOptions) (digest.Digest, error)
	Import(ctx context.Context, r io.Reader, o snapshot.ImportOptions) (digest.Digest, error)
}

// Snapshots are former states of containers.
type Snapshots interface {
	Create(ctx context.Context, container string, r api.SnapshotCreateRequest) (api.Snapshot, error)
	List(ctx context.Context, container string) ([]api.Snapshot, error)
	Remove(ctx context.Context, container, snapshot string) error
	Changes(ctx context.Context, container, snapshot, until string) ([]ct.FilesystemChange, error)
	Returns
}

// Returns go back to a former state, or on from it in another container.
type Returns interface {
	Rollback(ctx context.Context, container, snapshot string) error
	Clone(ctx context.Context, container string, r api.CloneRequest) (ct.CreateResponse, error)
}

// Volumes are the volumes that are here.
type Volumes interface {
	Create(ctx context.Context, r vt.CreateRequest) (vt.Volume, error)
	Get(name string) (vt.Volume, error)
	List(f api.Filters) ([]vt.Volume, error)
	Remove(ctx context.Context, name string, force bool) error
	Prune(ctx context.Context, f api.Filters) (vt.PruneReport, error)
}

// Networks are the networks that are here.
type Networks interface {
	Create(ctx context.Context, r nt.CreateRequest) (nt.CreateResponse, error)
	Inspect(ref string) (nt.Inspect, error)
	List(f api.Filters) ([]nt.Inspect, error)
	Remove(ctx context.Context, ref string) error
	Prune(ctx context.Context, f api.Filters) (nt.PruneReport, error)
}

// Endpoints connects containers to networks.
type Endpoints interface {
	Connect(ctx context.Context, network, container string, wish *nt.EndpointSettings) error
	Disconnect(ctx context.Context, network, container string, force bool) error
	AddPorts(ctx context.Context, container string, change api.PortChange) error
	RemovePorts(ctx context.Context, container string, change api.PortChange) error
}

// BuildKit serves BuildKit's own clients.
type BuildKit interface {
	// ServeHTTP answers one gRPC call.
	http.Handler
	// ServeConn serves gRPC on a connection, which it closes.
	ServeConn(conn net.Conn)
	// SessionFree refuses the ID of a session that is open.
	SessionFree(ctx context.Context, id string) error
	// Session serves a client's session on a connection until one side ends it.
	Session(ctx context.Context, conn net.Conn, headers map[string][]string) error
}

// Builds are the builds of the classic API, and what all builds have left for the next ones.
type Builds interface {
	Build(ctx context.Context, o api.BuildOptions, body io.Reader, emit func(jsonstream.Message) error) error
	CancelBuild(id string)
	PruneBuilds(ctx context.Context, o api.BuildPruneOptions) (build.CachePruneReport, error)
	BuildUsage(ctx context.Context) ([]build.CacheRecord, error)
}

// Registry asks registries.
type Registry interface {
	Login(ctx context.Context, serverAddress string, cred remote.Credentials) (string, error)
	Search(ctx context.Context, host, term string, limit int, session *remote.Session) ([]remote.Found, error)
	Manifest(ctx context.Context, name ref.Name, session *remote.Session) (ocispec.Descriptor, []byte, error)
	Blob(ctx context.Context, name ref.Name, desc ocispec.Descriptor, offset int64, session *remote.Session) (io.ReadCloser, int64, error)
}
