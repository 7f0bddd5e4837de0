// Package shim keeps one supervisor process per container. The supervisor is the parent of the container's processes: it
// starts them, holds their standard streams, writes the log and collects exit codes, and it does so whether or not a
// daemon is there. The daemon's side is Keeper and Shim; the supervisor's is Serve, which cmd/cove-runtime calls.
//
// Daemon and supervisor speak frames over a Unix socket (see wire.go). One connection carries requests, answers and the
// news that a process has ended; each attached client has a connection of its own.
//
// On disk, below the engine's folder for run-time state:
//
//	shim/
//	    shim.log           what supervisors say when they crash
//	    <id>/sock          the supervisor listens here
//	    <id>/state.json    pids and cgroup, for a daemon that finds the supervisor dead
//	    <id>/exit.json     how the container ended, in place before anybody is told
//	    <id>/bundle/       config.json, rootfs: only with an external OCI runtime
//
// A supervisor lives for one run of its container: a restart takes a new one.
package shim

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/logs"
)

// Overlay is the container's root, see runtime.Overlay.
type Overlay struct {
	Lower       []string // topmost first
	Upper, Work string
}

// Config is everything a supervisor needs to make the container.
type Config struct {
	Spec         *specs.Spec
	Overlay      *Overlay // nil: Spec.Root.Path
	User         string   // docker's "user[:group]", looked up inside the root; empty: Spec.Process.User
	Groups       []string // supplementary groups by name or number
	SeccompCache string   // folder of compiled seccomp programs
	Init         bool     // a small init as process 1

	NetNS *os.File `json:"-"` // network namespace to join; the caller closes its own copy

	Stdin         bool // keep standard input open for attached clients; without it the process reads end of file
	StdinOnce     bool // standard input ends with the first client that attached it
	Terminal      bool
	Width, Height uint16 // of the terminal, 0: unknown

	Log     logs.Config
	Runtime string // path of an external OCI runtime; empty: Cove's own
}

// ExecConfig is a further process in the running container.
type ExecConfig struct {
	Process       specs.Process // Env, Cwd, Args, Capabilities, NoNewPrivileges, Rlimits …
	User          string        // as Config.User; empty: Process.User
	Groups        []string
	Stdin         bool
	Terminal      bool
	Width, Height uint16
	// Note is kept by the supervisor and given back by Execs, so that a new daemon knows what it was.
	Note json.RawMessage `json:",omitempty"`
}

// Exit tells how a process ended.
type Exit struct {
	Code      int       // 128+n when signal n ended it
	Signal    int       `json:",omitempty"`
	OOMKilled bool      `json:",omitempty"` // the kernel killed a process of this container for want of memory
	At        time.Time // when it was collected
	Error     string    `json:",omitempty"` // why the true code is unknown: the supervisor itself was killed
}

// ExecState is one exec process as its supervisor knows it.
type ExecState struct {
	ID   string
	Pid  int   // 0 before ExecStart
	Exit *Exit `json:",omitempty"` // nil while it has not ended
	Note json.RawMessage
}

// AttachOptions chooses the streams of an attachment.
type AttachOptions struct {
	Stdin, Stdout, Stderr bool
}

// Keeper starts supervisors and finds them again. It keeps one spare running, so that a container's start does not wait
// for a process to boot; a spare whose daemon goes away before it is needed ends by itself.
type Keeper struct{}

// Open takes the folder of the supervisors, made if absent, and the path of the cove-runtime binary.
func Open(dir string, runtimeBinary string) (*Keeper, error) { return &Keeper{}, nil }

// Close ends the spare and lets go of all supervisors, which go on by themselves.
func (k *Keeper) Close() error { return nil }

// Launch gives the container a supervisor: nothing runs in it yet, but clients can attach.
func (k *Keeper) Launch(ctx context.Context, id string) (*Shim, error) { return &Shim{}, nil }

// Reconnect finds the supervisor of a container that an earlier daemon launched. If it has ended, or was killed, the
// Shim still tells the Exit; what a killed one left running is killed first. errdefs.ErrNotFound: there is nothing.
func (k *Keeper) Reconnect(ctx context.Context, id string) (*Shim, error) { return &Shim{}, nil }

// Leftovers lists the containers that have a supervisor or a record of how they ended.
func (k *Keeper) Leftovers() ([]string, error) { return nil, nil }

// Shim is the daemon's hold on one supervisor.
type Shim struct{}

// Create makes the container up to the moment before its program is loaded. Errors of the program or the user carry
// *runtime.StartError and errdefs kinds as the runtime gives them.
func (s *Shim) Create(ctx context.Context, cfg Config) (pid int, err error) { return 0, nil }

// Start loads the program.
func (s *Shim) Start(ctx context.Context) error { return nil }

// Pid is that of the container's first process, 0 before Create.
func (s *Shim) Pid() int { return 0 }

// Started tells whether the program was loaded: a reconnecting daemon removes what never got that far.
func (s *Shim) Started() bool { return false }

// Done is closed when the container has ended and its Exit is known.
func (s *Shim) Done() <-chan struct{} { return nil }

// Wait gives the container's Exit. By then its log is complete.
func (s *Shim) Wait(ctx context.Context) (Exit, error) { return Exit{}, nil }

// Kill signals the container's first process, or with all every process in it. errdefs.ErrNotFound: it has ended.
func (s *Shim) Kill(ctx context.Context, signal int, all bool) error { return nil }

// Resize sets the terminal's size; proc is empty for the container itself, else an exec id.
func (s *Shim) Resize(ctx context.Context, proc string, width, height uint16) error { return nil }

// Attach connects a client to the streams of the container (proc empty) or of an exec. It is in place when Attach
// returns, also before Create: no byte written later is missed. Several clients may be attached; one that does not read
// holds 1 MiB for it and then, as in dockerd, the container's own writing.
func (s *Shim) Attach(ctx context.Context, proc string, o AttachOptions) (*Stream, error) {
	return &Stream{}, nil
}

// Exec prepares a process, so that clients can attach before ExecStart.
func (s *Shim) Exec(ctx context.Context, execID string, cfg ExecConfig) error { return nil }

// ExecStart runs a prepared process.
func (s *Shim) ExecStart(ctx context.Context, execID string) (pid int, err error) { return 0, nil }

// ExecWait gives the exit of an exec process.
func (s *Shim) ExecWait(ctx context.Context, execID string) (Exit, error) { return Exit{}, nil }

// ExecKill signals one exec process.
func (s *Shim) ExecKill(ctx context.Context, execID string, signal int) error { return nil }

// ExecDelete forgets an exec that has ended or was never started.
func (s *Shim) ExecDelete(ctx context.Context, execID string) error { return nil }

// Execs lists the exec processes known, also those that have ended and were not deleted.
func (s *Shim) Execs(ctx context.Context) ([]ExecState, error) { return nil, nil }

// Delete kills what is left of the container, removes its cgroup, ends the supervisor and removes its folder.
func (s *Shim) Delete(ctx context.Context) error { return nil }

// Close lets go of the supervisor, which goes on.
func (s *Shim) Close() error { return nil }

// Stream is an attachment.
type Stream struct{}

// Read gives docker's frames (8 bytes of header), or plain bytes for a process with a terminal. It ends with io.EOF when
// the process has ended and everything it wrote was read.
func (s *Stream) Read(p []byte) (int, error) { return 0, nil }

// Write sends to standard input.
func (s *Stream) Write(p []byte) (int, error) { return 0, nil }

// CloseWrite ends the client's input. It ends the process's input if that was to end with its client (StdinOnce, every
// exec); otherwise, and with a terminal, it ends the attachment, as in dockerd.
func (s *Stream) CloseWrite() error { return nil }

// Close detaches. The process goes on.
func (s *Stream) Close() error { return nil }
