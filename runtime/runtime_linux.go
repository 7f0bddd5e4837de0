// Package runtime makes a process out of an OCI runtime document: namespaces, root file system, cgroup,
// capabilities, seccomp. It does so within the calling process, by two tricks instead of a helper program:
//
//	caller            Create: opens streams, namespaces and the init; has the cgroup made meanwhile
//	  own thread      enters the container's namespaces and builds its root with ordinary Go code, while it still
//	                  sees the host; nobody else ever runs on that thread, and it ends with the work
//	    child         is cloned from that thread before there is a root, a copy of this process that may run no Go
//	                  code any more: it makes a list of system calls laid ready for it (see program). First those that
//	                  only it can make, in its pid, user and cgroup namespaces; then it waits, and goes on with what was
//	                  written meanwhile into memory both share (see arena), the last of it execve
//
// So a container costs one clone and one execve, and no program has to start before the container's own. The child
// tells by a pipe how far it is, and which of its calls failed. A further process (Exec) is made the same way by a
// thread that joins the container first.
//
// Children: rootfs builds the file system, account looks users up in it, cgroup limits and measures, seccomp compiles
// filters. Bundles adds what
// the OCI command line needs: containers that outlive the process that made them.
package runtime

import (
	"os"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime/cgroup"
	"github.com/cove-containers/cove/runtime/rootfs"
)

// Overlay is a root file system of stacked layers, mounted in the container's own mount namespace.
type Overlay struct {
	// Lower lists the read-only layers, topmost first, as absolute paths.
	Lower []string
	// Upper and Work are the writable layer and its work folder; an empty Upper makes the root read-only.
	Upper, Work string
	// Mapped layers have the numbers that users have in the container, whatever those are outside.
	Mapped bool
}

// Config says which container to make.
type Config struct {
	ID   string
	Spec *specs.Spec
	// Overlay is the root, or Tree, a detached mount; both nil: Spec.Root.Path.
	Overlay *Overlay
	Tree    *os.File `json:"-"`
	// Sources are detached mounts which bind mounts, one each, name as their source.
	Sources map[string]*os.File `json:"-"`
	// Rooms are mount namespaces, at whose roots lies what bind mounts name as their source.
	Rooms map[string]*os.File `json:"-"`
	// User is "user[:group]", by name or number, looked up inside the root; empty: Spec.Process.User as it stands.
	User string
	// Groups are additional groups, by name or number, looked up inside the root.
	Groups []string
	// NetNS is the network namespace to join; nil: as the document says.
	NetNS *os.File `json:"-"`
	// UserNS is the user namespace to join; nil: as the document says.
	UserNS *os.File `json:"-"`
	// SeccompCache is a folder of compiled filters; empty: compile each time.
	SeccompCache string
	// Init runs a small reaper as process 1, which starts the program and forwards signals to it.
	Init bool
	// PreserveFDs passes so many descriptors after standard error on to the process.
	PreserveFDs int
	// Bundle is what relative paths of the document are relative to, and what hooks are told.
	Bundle string
	// Handover is a folder through which another process may start the container after this one has ended; empty:
	// only this process can. See Bundles.
	Handover string
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

// Stub is a folder or file that was made in the root to mount something on.
type Stub = rootfs.Stub

// Cgroup is a container's control group.
type Cgroup = cgroup.Cgroup

// Stats is what a container used.
type Stats = cgroup.Stats

// OpenCgroup finds the cgroup at path, relative to the hierarchies' roots ("/cove/ID").
func OpenCgroup(path string) (*Cgroup, error) { return cgroup.Open(path) }

// UnifiedCgroups tells whether the host has cgroup v2 only.
func UnifiedCgroups() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}
