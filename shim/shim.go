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
//	    steps/             the same for the steps of builds: steps/<id>/state.json
//	    <id>/sock          the supervisor listens here
//	    <id>/state.json    pids and cgroup, for a daemon that finds the supervisor dead
//	    <id>/exit.json     how the container ended, in place before anybody is told
//	    <id>/bundle/       config.json, rootfs: only with an external OCI runtime
//
// A supervisor lives for one run of its container: a restart takes a new one.
//
// The steps of builds, many and short, have one supervisor for all of them, which ends with the daemon that started it, and
// with it every step: see Steps.
package shim

import (
	"encoding/json"
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/logs"
	"github.com/cove-containers/cove/runtime"
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

	rooms map[string]*os.File // see RoomOf
	users *os.File            // see Namespaces

	Stdin         bool // keep standard input open for attached clients; without it the process reads end of file
	StdinOnce     bool // standard input ends with the first client that attached it
	Terminal      bool
	Width, Height uint16 // of the terminal, 0: unknown

	Log     logs.Config
	Runtime string // path of an external OCI runtime; empty: Cove's own

	Checkpoint *runtime.CheckpointOptions `json:",omitempty"` // whose processes take the program's place; nil: none
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
