package cgroup

import (
	"errors"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Stats is what one container used, as the kernel counts it. Times are nanoseconds, sizes bytes.
type Stats struct {
	// Unified tells that the figures come from the unified hierarchy: some are then zero or named otherwise.
	Unified bool
	CPU     CPUStats
	Memory  MemoryStats
	Pids    PidsStats
	BlockIO BlockIOStats
}

// CPUStats counts processor time. PerCPU is empty on the unified hierarchy.
type CPUStats struct {
	Total, User, Kernel                       uint64
	PerCPU                                    []uint64
	Periods, ThrottledPeriods, ThrottledNanos uint64
}

// MemoryStats counts memory. Limit is the machine's memory where no limit is set; Detail holds memory.stat.
type MemoryStats struct {
	Usage, MaxUsage, Limit, FailCount uint64
	Detail                            map[string]uint64
}

// PidsStats counts tasks; Limit 0 means no limit.
type PidsStats struct{ Current, Limit uint64 }

// BlockIOStats counts transfers per device and operation ("read", "write", ...).
type BlockIOStats struct{ Bytes, Operations []BlockEntry }

// BlockEntry is one counter of one device.
type BlockEntry struct {
	Major, Minor uint64
	Op           string
	Value        uint64
}

// Cgroup is one container's control group, in every hierarchy of the host.
type Cgroup struct{ path string }

// Open finds the cgroup at path, relative to the hierarchies' roots. A cgroup that does not exist is errdefs.ErrNotFound.
func Open(path string) (*Cgroup, error) { return &Cgroup{path: path}, nil }

var errEarly = errors.New("not yet")

// Path is the cgroup's path relative to the hierarchies' roots.
func (c *Cgroup) Path() string { return c.path }

// Stats reads the counters.
func (c *Cgroup) Stats() (Stats, error) { return Stats{}, errEarly }

// Pids lists every process in the cgroup and in the cgroups below it, by its number on the host.
func (c *Cgroup) Pids() ([]int, error) { return nil, errEarly }

// Freeze stops every process in the cgroup and returns once all of them stand still.
func (c *Cgroup) Freeze() error { return errEarly }

// Thaw lets frozen processes go on.
func (c *Cgroup) Thaw() error { return errEarly }

// Update changes the limits that r sets and leaves the others alone.
func (c *Cgroup) Update(r *specs.LinuxResources) error { return errEarly }

// OOMKills counts the processes the kernel has killed here for want of memory.
func (c *Cgroup) OOMKills() (uint64, error) { return 0, errEarly }

// KillAll kills every process in the cgroup and below, also those that fork meanwhile, and waits until none is left.
func (c *Cgroup) KillAll() error { return errEarly }

// Remove removes the cgroup and those below it; one that is gone already is no error.
func (c *Cgroup) Remove() error { return errEarly }
