package engine

import (
	"context"
	"io"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/logs"
)

// CreateOptions is what a container is to be made from.
type CreateOptions struct {
	// Name is empty for a random one.
	Name       string
	Config     *ct.Config
	HostConfig *ct.HostConfig
	Networking *nt.NetworkingConfig
	// Platform picks one of a multi-platform image; nil is the host's.
	Platform *ocispec.Platform
}

// ContainerCreate makes a container and answers once its record is durable.
func (e *Engine) ContainerCreate(ctx context.Context, o CreateOptions) (ct.CreateResponse, error) {
	return ct.CreateResponse{}, errdefs.ErrNotImplemented
}

// ContainerStart starts a container that does not run; one that runs is errdefs.ErrNotModified.
func (e *Engine) ContainerStart(ctx context.Context, ref string) error {
	return errdefs.ErrNotImplemented
}

// ContainerStop asks the container to end and kills it after timeout seconds; nil is the container's own
// timeout, negative waits for ever. A stopped one is errdefs.ErrNotModified.
func (e *Engine) ContainerStop(ctx context.Context, ref, signal string, timeout *int) error {
	return errdefs.ErrNotImplemented
}

// ContainerKill sends a signal, by name or number ("" is KILL), to the first process.
func (e *Engine) ContainerKill(ctx context.Context, ref, signal string) error {
	return errdefs.ErrNotImplemented
}

// ContainerRestart stops the container if it runs, and starts it.
func (e *Engine) ContainerRestart(ctx context.Context, ref, signal string, timeout *int) error {
	return errdefs.ErrNotImplemented
}

// ContainerPause freezes every process of the container.
func (e *Engine) ContainerPause(ctx context.Context, ref string) error {
	return errdefs.ErrNotImplemented
}

// ContainerUnpause lets a frozen container go on.
func (e *Engine) ContainerUnpause(ctx context.Context, ref string) error {
	return errdefs.ErrNotImplemented
}

// ContainerWait gives the exit code once the condition holds. It is registered when ContainerWait returns.
func (e *Engine) ContainerWait(ctx context.Context, ref string, condition ct.WaitCondition) (<-chan ct.WaitResponse, error) {
	return nil, errdefs.ErrNotImplemented
}

// ContainerRename gives the container another name.
func (e *Engine) ContainerRename(ctx context.Context, ref, name string) error {
	return errdefs.ErrNotImplemented
}

// RemoveOptions says how thoroughly a container is removed.
type RemoveOptions struct {
	// Force kills a running container first.
	Force bool
	// Volumes removes its anonymous volumes too.
	Volumes bool
}

// ContainerRemove removes a container; when it returns its name is free.
func (e *Engine) ContainerRemove(ctx context.Context, ref string, o RemoveOptions) error {
	return errdefs.ErrNotImplemented
}

// ContainerResize sets the size of the container's terminal.
func (e *Engine) ContainerResize(ctx context.Context, ref string, height, width uint) error {
	return errdefs.ErrNotImplemented
}

// Conn is a hijacked connection to a client. CloseWrite tells the client that nothing more comes.
type Conn interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Opener takes over a client's connection. It is called once, when everything is known to be in order: tty
// tells whether raw bytes follow, or frames with Docker's 8-byte headers.
type Opener func(tty bool) (Conn, error)

// AttachOptions says what of a container a client wants to be connected to.
type AttachOptions struct {
	Stdin, Stdout, Stderr bool
	// Logs replays what was logged so far; Stream stays connected.
	Logs, Stream bool
	// DetachKeys in Docker's notation; empty is the engine's default.
	DetachKeys string
	Open       Opener
}

// ContainerAttach connects a client to the container's streams and returns when the connection is over. It may
// come before the container is started.
func (e *Engine) ContainerAttach(ctx context.Context, ref string, o AttachOptions) error {
	return errdefs.ErrNotImplemented
}

// ExecCreate prepares a command in a running container and gives its ID.
func (e *Engine) ExecCreate(ctx context.Context, ref string, r ct.ExecCreateRequest) (string, error) {
	return "", errdefs.ErrNotImplemented
}

// ExecStartOptions says how a prepared command is run.
type ExecStartOptions struct {
	// Detach returns once the command runs; Open is not called.
	Detach bool
	// Tty must be what the command was created with.
	Tty bool
	// ConsoleSize is height and width of the terminal.
	ConsoleSize *[2]uint
	Open        Opener
}

// ExecStart runs a prepared command and, unless detached, returns when its output has been delivered.
func (e *Engine) ExecStart(ctx context.Context, execID string, o ExecStartOptions) error {
	return errdefs.ErrNotImplemented
}

// ExecResize sets the size of the command's terminal.
func (e *Engine) ExecResize(ctx context.Context, execID string, height, width uint) error {
	return errdefs.ErrNotImplemented
}

// ExecInspect tells how a command is set up and how it fares.
func (e *Engine) ExecInspect(ctx context.Context, execID string) (ct.ExecInspectResponse, error) {
	return ct.ExecInspectResponse{}, errdefs.ErrNotImplemented
}

// LogsOptions picks lines of a container's output.
type LogsOptions struct {
	Stdout, Stderr, Follow, Timestamps, Details bool
	Since, Until                                time.Time
	// Tail is the number of last lines; negative is all.
	Tail int
}

// ContainerLogs gives the lines asked for to emit, each with the text that goes before it (time and details).
// Open is called once the request is known to be in order, and is told whether the container has a terminal.
func (e *Engine) ContainerLogs(ctx context.Context, ref string, o LogsOptions, open func(tty bool) error, emit func(line logs.Line, prefix string) error) error {
	return errdefs.ErrNotImplemented
}

// ContainerUpdate changes limits and the restart policy, live where the container runs.
func (e *Engine) ContainerUpdate(ctx context.Context, ref string, u ct.UpdateConfig) (ct.UpdateResponse, error) {
	return ct.UpdateResponse{}, errdefs.ErrNotImplemented
}
