package shim

import (
	"os"
	"syscall"

	"github.com/cove-containers/cove/runtime"
)

// box is a container as its supervisor sees it. Cove's own runtime gives one, an external OCI runtime another.
type box interface {
	// Exec makes a further process, which waits for its Start.
	Exec(cfg ExecConfig, io runtime.IO) (process, error)
	// KillAll signals every process in the container.
	KillAll(sig syscall.Signal) error
	// OOMKilled tells whether the kernel killed a process of the container for want of memory.
	OOMKilled() bool
	// Cgroup is the path of the container's cgroup, relative to the hierarchies, for whoever must clean up.
	Cgroup() string
	endings
}

type endings interface {
	// Checkpoint keeps the container's state on disk.
	Checkpoint(o runtime.CheckpointOptions) error
	// Destroy kills what is left and removes what the container occupied.
	Destroy() error
}

// process is one that was made and waits for Start. *runtime.Container and *runtime.Process are such.
type process interface {
	Pid() int
	Start() error
	Kill(sig syscall.Signal) error
	Wait() (runtime.ExitStatus, error)
	Console() *os.File
}

// job is what a maker is given: the container's id, the supervisor's folder, the settings and the streams.
type job struct {
	id, dir string
	cfg     Config
	io      runtime.IO
}

// maker makes a container and its first process.
type maker func(job) (box, process, error)
