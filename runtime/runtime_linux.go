// Package runtime makes a process out of an OCI runtime document: namespaces, root file system, cgroup,
// capabilities, seccomp.
package runtime

import (
	"errors"
	"os"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime/cgroup"
)

// Overlay is a root file system of stacked layers, mounted in the container's own mount namespace.
type Overlay struct {
	// Lower lists the read-only layers, topmost first, as absolute paths.
	Lower []string
	// Upper and Work are the writable layer and its work folder; an empty Upper makes the root read-only.
	Upper, Work string
}

// Config says which container to make.
type Config struct {
	ID   string
	Spec *specs.Spec
	// Overlay is the root; nil: Spec.Root.Path.
	Overlay *Overlay
	// User is "user[:group]", by name or number, looked up inside the root; empty: Spec.Process.User as it stands.
	User string
	// Groups are additional groups, by name or number, looked up inside the root.
	Groups []string
	// NetNS is the network namespace to join; nil: as the document says.
	NetNS *os.File `json:"-"`
	// SeccompCache is a folder of compiled filters; empty: compile each time.
	SeccompCache string
	// Init runs a small reaper as process 1, which starts the program and forwards signals to it.
	Init bool
	// PreserveFDs passes so many descriptors after standard error on to the process.
	PreserveFDs int
}

// IO is what a process reads and writes. Nil files are /dev/null.
type IO struct {
	Stdin, Stdout, Stderr *os.File
	// Terminal gives the process a new terminal of the container's own devpts instead; see Console.
	Terminal      bool
	Width, Height uint16
}

// ExitStatus is how a process ended.
type ExitStatus struct {
	// Code is the exit code, or 128 plus the signal's number.
	Code int
	// Signal is the signal that ended the process, or 0.
	Signal syscall.Signal
}

// StartError is a container or process that could not be started by its own fault. Code is the exit status a shell
// would give: 127 for a program that is not there, 126 for one that cannot be run, 0 where neither applies.
type StartError struct {
	Code int
	Err  error
}

// Error is the cause's message.
func (e *StartError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *StartError) Unwrap() error { return e.Err }

// Cgroup is a container's control group.
type Cgroup = cgroup.Cgroup

// Stats is what a container used.
type Stats = cgroup.Stats

// OpenCgroup finds the cgroup at path, relative to the hierarchies' roots ("/cove/ID").
func OpenCgroup(path string) (*Cgroup, error) { return cgroup.Open(path) }

// Container is one container made by this process.
type Container struct{}

var errEarly = errors.New("not yet")

// Create makes the container; its process waits for Start before it becomes the program.
func Create(cfg Config, io IO) (*Container, error) { return nil, errEarly }

// Start lets the process become its program and tells why that failed.
func (c *Container) Start() error { return errEarly }

// Console is the terminal's master, or nil. It belongs to the container until the caller closes it.
func (c *Container) Console() *os.File { return nil }

// Pid is the first process's number on the host.
func (c *Container) Pid() int { return 0 }

// Wait returns when the first process has ended; every call gets the same answer.
func (c *Container) Wait() (ExitStatus, error) { return ExitStatus{}, errEarly }

// Kill sends a signal to the first process.
func (c *Container) Kill(sig syscall.Signal) error { return errEarly }

// Resize sets the terminal's size.
func (c *Container) Resize(width, height uint16) error { return errEarly }

// Cgroup is the container's control group.
func (c *Container) Cgroup() *Cgroup { return nil }

// Destroy kills what is left, removes the cgroup and lets go of the root. It is safe to call twice.
func (c *Container) Destroy() error { return errEarly }

// Exec makes another process inside; it waits for Process.Start. user and groups are looked up as in Config.
func (c *Container) Exec(p specs.Process, user string, groups []string, io IO) (*Process, error) {
	return nil, errEarly
}

// Process is a process that joined a container.
type Process struct{}

// Start lets the process become its program and tells why that failed.
func (p *Process) Start() error { return errEarly }

// Pid is the process's number on the host.
func (p *Process) Pid() int { return 0 }

// Console is the terminal's master, or nil.
func (p *Process) Console() *os.File { return nil }

// Wait returns when the process has ended; every call gets the same answer.
func (p *Process) Wait() (ExitStatus, error) { return ExitStatus{}, errEarly }

// Kill sends a signal to the process.
func (p *Process) Kill(sig syscall.Signal) error { return errEarly }

// Resize sets the terminal's size.
func (p *Process) Resize(width, height uint16) error { return errEarly }
