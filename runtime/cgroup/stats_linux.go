package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
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

// Stats reads the counters. What a controller would count that the host does not have is zero.
func (c *Cgroup) Stats() (Stats, error) {
	if _, err := os.Stat(c.processes()); errors.Is(err, fs.ErrNotExist) {
		return Stats{}, fmt.Errorf("cgroup %s: %w", c.path, errdefs.ErrNotFound)
	}
	s := Stats{Unified: c.host.unified}
	read := c.readOld
	if c.host.unified {
		read = c.readUnified
	}
	if err := read(&s); err != nil {
		return Stats{}, fmt.Errorf("read cgroup %s: %w", c.path, err)
	}
	s.Memory.Limit = min(s.Memory.Limit, machineMemory())
	if s.Pids.Limit == ^uint64(0) {
		s.Pids.Limit = 0
	}
	return s, nil
}

// counter is one number a file holds and where it goes.
type counter struct {
	controller, file string
	into             *uint64
}

func (c *Cgroup) readCounters(all []counter) error {
	for _, n := range all {
		dir := c.dir(n.controller)
		if dir == "" {
			continue
		}
		value, err := readNumber(dir, n.file)
		switch {
		case err == nil:
			*n.into = value
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// table reads a table of a controller, which may be absent.
func (c *Cgroup) table(controller, file string) (map[string]uint64, error) {
	dir := c.dir(controller)
	if dir == "" {
		return nil, nil
	}
	t, err := readTable(dir, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return t, err
}

// readOld reads the older hierarchies' files.
func (c *Cgroup) readOld(s *Stats) error {
	s.Memory.Limit = ^uint64(0)
	err := c.readCounters([]counter{
		{"cpuacct", "cpuacct.usage", &s.CPU.Total},
		{"cpuacct", "cpuacct.usage_user", &s.CPU.User}, {"cpuacct", "cpuacct.usage_sys", &s.CPU.Kernel},
		{"memory", "memory.usage_in_bytes", &s.Memory.Usage}, {"memory", "memory.max_usage_in_bytes", &s.Memory.MaxUsage},
		{"memory", "memory.limit_in_bytes", &s.Memory.Limit}, {"memory", "memory.failcnt", &s.Memory.FailCount},
		{"pids", "pids.current", &s.Pids.Current}, {"pids", "pids.max", &s.Pids.Limit},
	})
	if err != nil {
		return err
	}
	if dir := c.dir("cpuacct"); dir != "" {
		each, err := read(dir, "cpuacct.usage_percpu")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, f := range strings.Fields(each) {
			n, err := strconv.ParseUint(f, 10, 64)
			if err != nil {
				return err
			}
			s.CPU.PerCPU = append(s.CPU.PerCPU, n)
		}
	}
	throttling, err := c.table("cpu", "cpu.stat")
	if err != nil {
		return err
	}
	s.CPU.Periods, s.CPU.ThrottledPeriods, s.CPU.ThrottledNanos = throttling["nr_periods"], throttling["nr_throttled"], throttling["throttled_time"]
	if s.Memory.Detail, err = c.table("memory", "memory.stat"); err != nil {
		return err
	}
	dir := c.dir("blkio")
	if dir == "" {
		return nil
	}
	for _, b := range []struct {
		into  *[]BlockEntry
		files []string
	}{
		{&s.BlockIO.Bytes, []string{"blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"}},
		{&s.BlockIO.Operations, []string{"blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced"}},
	} {
		for _, file := range b.files {
			text, err := read(dir, file)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if *b.into = parseBlockOld(text); len(*b.into) > 0 {
				break
			}
		}
	}
	return nil
}

// readUnified reads the unified hierarchy's files; its times are microseconds.
func (c *Cgroup) readUnified(s *Stats) error {
	s.Memory.Limit = ^uint64(0)
	err := c.readCounters([]counter{
		{"", "memory.current", &s.Memory.Usage}, {"", "memory.peak", &s.Memory.MaxUsage}, {"", "memory.max", &s.Memory.Limit},
		{"", "pids.current", &s.Pids.Current}, {"", "pids.max", &s.Pids.Limit},
	})
	if err != nil {
		return err
	}
	cpu, err := c.table("", "cpu.stat")
	if err != nil {
		return err
	}
	s.CPU.Total, s.CPU.User, s.CPU.Kernel = cpu["usage_usec"]*1000, cpu["user_usec"]*1000, cpu["system_usec"]*1000
	s.CPU.Periods, s.CPU.ThrottledPeriods, s.CPU.ThrottledNanos = cpu["nr_periods"], cpu["nr_throttled"], cpu["throttled_usec"]*1000
	if s.Memory.Detail, err = c.table("", "memory.stat"); err != nil {
		return err
	}
	events, err := c.table("", "memory.events")
	if err != nil {
		return err
	}
	s.Memory.FailCount = events["max"]
	text, err := read(c.dir(""), "io.stat")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.BlockIO = parseBlockUnified(text)
	return nil
}

// parseBlockOld reads "8:0 Read 4096" lines; the line of totals has no device.
func parseBlockOld(text string) []BlockEntry {
	var all []BlockEntry
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		if e, ok := blockEntry(f[0], f[1], f[2]); ok {
			all = append(all, e)
		}
	}
	return all
}

// parseBlockUnified reads "8:0 rbytes=1 wbytes=2 rios=3 wios=4" lines.
func parseBlockUnified(text string) BlockIOStats {
	var s BlockIOStats
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		for i := 1; i < len(f); i++ {
			key, value, _ := strings.Cut(f[i], "=")
			op := map[string]string{"rbytes": "read", "wbytes": "write", "rios": "read", "wios": "write"}[key]
			e, ok := blockEntry(f[0], op, value)
			switch {
			case op == "" || !ok:
			case strings.HasSuffix(key, "bytes"):
				s.Bytes = append(s.Bytes, e)
			default:
				s.Operations = append(s.Operations, e)
			}
		}
	}
	return s
}

func blockEntry(device, op, value string) (BlockEntry, bool) {
	major, minor, ok := strings.Cut(device, ":")
	a, err1 := strconv.ParseUint(major, 10, 64)
	b, err2 := strconv.ParseUint(minor, 10, 64)
	n, err3 := strconv.ParseUint(value, 10, 64)
	return BlockEntry{a, b, op, n}, ok && err1 == nil && err2 == nil && err3 == nil
}

// OOMKills counts the processes the kernel has killed here for want of memory.
func (c *Cgroup) OOMKills() (uint64, error) {
	file := "memory.oom_control"
	if c.host.unified {
		file = "memory.events"
	}
	t, err := c.table("memory", file)
	if err != nil {
		return 0, fmt.Errorf("read cgroup %s: %w", c.path, err)
	}
	return t["oom_kill"], nil
}

// machineMemory is the memory of the host in bytes.
var machineMemory = sync.OnceValue(func() uint64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return ^uint64(0)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "MemTotal:"); ok {
			kb, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err == nil {
				return kb << 10
			}
		}
	}
	return ^uint64(0)
})
