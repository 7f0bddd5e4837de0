package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// makeOld makes the group in one of the older hierarchies.
func makeOld(h hierarchy, path string) error {
	dir := h.mount + path
	if !h.controls("cpuset") {
		_, err := makeDir(dir)
		return err
	}
	// A new cpuset is empty and lets nobody in: each level takes over its parent's processors and memory nodes.
	made, err := makeDir(dir)
	if err != nil || !made {
		return err
	}
	return inheritCpuset(h.mount, dir)
}

func inheritCpuset(root, dir string) error {
	if dir == root || len(dir) < len(root) {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := read(dir, file)
		if err != nil {
			return err
		}
		if own != "" {
			continue
		}
		parent := filepath.Dir(dir)
		value, err := read(parent, file)
		if err != nil {
			return err
		}
		if value == "" {
			if err := inheritCpuset(root, parent); err != nil {
				return err
			}
			if value, err = read(parent, file); err != nil {
				return err
			}
		}
		if err := write(dir, file, value); err != nil {
			return err
		}
	}
	return nil
}

// setting is one control file's new value.
type setting struct {
	file, value string
	// optional settings are skipped where the kernel has no such file.
	optional bool
}

// apply writes settings in order.
func apply(dir string, all []setting) error {
	for _, s := range all {
		err := write(dir, s.file, s.value)
		if s.optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// updateOld applies the limits r sets, in every hierarchy that has a say.
func (c *Cgroup) updateOld(r *specs.LinuxResources) error {
	for _, h := range c.host.hierarchies {
		dir := h.mount + c.path
		var all []setting
		if h.controls("devices") {
			all = append(all, devicesOld(r.Devices)...)
		}
		if h.controls("cpuset") {
			all = append(all, cpusetSettings(r.CPU)...)
		}
		if h.controls("cpu") {
			all = append(all, cpuOld(r.CPU)...)
		}
		if h.controls("pids") && r.Pids != nil && r.Pids.Limit != nil {
			all = append(all, setting{file: "pids.max", value: limit(*r.Pids.Limit)})
		}
		if h.controls("blkio") {
			all = append(all, blockOld(r.BlockIO)...)
		}
		if h.controls("hugetlb") {
			for _, l := range r.HugepageLimits {
				all = append(all, setting{file: "hugetlb." + l.Pagesize + ".limit_in_bytes", value: strconv.FormatUint(l.Limit, 10)})
			}
		}
		all = append(all, networkOld(h, r.Network)...)
		if h.controls("rdma") {
			all = append(all, rdma(r.Rdma)...)
		}
		if h.controls("memory") {
			if err := memoryOld(dir, r.Memory); err != nil {
				return fmt.Errorf("limit memory: %w", err)
			}
		}
		if err := apply(dir, all); err != nil {
			return fmt.Errorf("set %s limits: %w", h.name, err)
		}
	}
	return nil
}

// memoryOld sets memory limits. The limit of memory and swap together may at no time be below that of memory, so
// their order depends on which way they move.
func memoryOld(dir string, m *specs.LinuxMemory) error {
	if m == nil {
		return nil
	}
	memory, swap := []setting(nil), []setting(nil)
	if m.Limit != nil {
		memory = []setting{{file: "memory.limit_in_bytes", value: strconv.FormatInt(*m.Limit, 10)}}
	}
	if m.Swap != nil {
		swap = []setting{{file: "memory.memsw.limit_in_bytes", value: strconv.FormatInt(*m.Swap, 10), optional: true}}
	}
	order := append(memory, swap...)
	if m.Limit != nil && m.Swap != nil {
		now, err := readNumber(dir, "memory.memsw.limit_in_bytes")
		if err == nil && (uint64(*m.Limit) > now || *m.Swap == -1) {
			order = append(swap, memory...)
		}
	}
	if m.Reservation != nil {
		order = append(order, setting{file: "memory.soft_limit_in_bytes", value: strconv.FormatInt(*m.Reservation, 10)})
	}
	if m.KernelTCP != nil {
		order = append(order, setting{file: "memory.kmem.tcp.limit_in_bytes", value: strconv.FormatInt(*m.KernelTCP, 10), optional: true})
	}
	if m.Swappiness != nil {
		order = append(order, setting{file: "memory.swappiness", value: strconv.FormatUint(*m.Swappiness, 10)})
	}
	if m.DisableOOMKiller != nil {
		value := "0"
		if *m.DisableOOMKiller {
			value = "1"
		}
		order = append(order, setting{file: "memory.oom_control", value: value})
	}
	err := apply(dir, order)
	if errors.Is(err, unix.EBUSY) && m.Limit != nil {
		used, _ := readNumber(dir, "memory.usage_in_bytes")
		peak, _ := readNumber(dir, "memory.max_usage_in_bytes")
		return fmt.Errorf("unable to set memory limit to %d (current usage: %d, peak usage: %d): %w", *m.Limit, used, peak, err)
	}
	return err
}

func cpuOld(c *specs.LinuxCPU) []setting {
	if c == nil {
		return nil
	}
	var all []setting
	number := func(file string, v *uint64, optional bool) {
		if v != nil {
			all = append(all, setting{file, strconv.FormatUint(*v, 10), optional})
		}
	}
	number("cpu.shares", c.Shares, false)
	number("cpu.rt_period_us", c.RealtimePeriod, false)
	if c.RealtimeRuntime != nil {
		all = append(all, setting{file: "cpu.rt_runtime_us", value: strconv.FormatInt(*c.RealtimeRuntime, 10)})
	}
	number("cpu.cfs_period_us", c.Period, false)
	if c.Quota != nil {
		quota := *c.Quota
		if quota <= 0 {
			quota = -1
		}
		all = append(all, setting{file: "cpu.cfs_quota_us", value: strconv.FormatInt(quota, 10)})
	}
	number("cpu.cfs_burst_us", c.Burst, true)
	if c.Idle != nil {
		all = append(all, setting{"cpu.idle", strconv.FormatInt(*c.Idle, 10), true})
	}
	return all
}

func cpusetSettings(c *specs.LinuxCPU) []setting {
	if c == nil {
		return nil
	}
	var all []setting
	if c.Cpus != "" {
		all = append(all, setting{file: "cpuset.cpus", value: c.Cpus})
	}
	if c.Mems != "" {
		all = append(all, setting{file: "cpuset.mems", value: c.Mems})
	}
	return all
}

// blockOld sets weights and throttles. Weights live in different files for different schedulers, or in none.
func blockOld(b *specs.LinuxBlockIO) []setting {
	if b == nil {
		return nil
	}
	var all []setting
	if b.Weight != nil && *b.Weight != 0 {
		all = append(all,
			setting{"blkio.weight", strconv.Itoa(int(*b.Weight)), true},
			setting{"blkio.bfq.weight", strconv.Itoa(int(*b.Weight)), true})
	}
	for _, d := range b.WeightDevice {
		if d.Weight != nil {
			value := fmt.Sprintf("%d:%d %s", d.Major, d.Minor, weightOf(*d.Weight))
			all = append(all, setting{"blkio.weight_device", value, true}, setting{"blkio.bfq.weight_device", value, true})
		}
	}
	for _, t := range []struct {
		file string
		list []specs.LinuxThrottleDevice
	}{
		{"blkio.throttle.read_bps_device", b.ThrottleReadBpsDevice}, {"blkio.throttle.write_bps_device", b.ThrottleWriteBpsDevice},
		{"blkio.throttle.read_iops_device", b.ThrottleReadIOPSDevice}, {"blkio.throttle.write_iops_device", b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range t.list {
			all = append(all, setting{file: t.file, value: fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate)})
		}
	}
	return all
}

// weightOf writes a device's weight; zero gives it the group's.
func weightOf(w uint16) string {
	if w == 0 {
		return "default"
	}
	return strconv.Itoa(int(w))
}

func networkOld(h hierarchy, n *specs.LinuxNetwork) []setting {
	if n == nil {
		return nil
	}
	var all []setting
	if h.controls("net_cls") && n.ClassID != nil {
		all = append(all, setting{file: "net_cls.classid", value: strconv.FormatUint(uint64(*n.ClassID), 10)})
	}
	if h.controls("net_prio") {
		for _, p := range n.Priorities {
			all = append(all, setting{file: "net_prio.ifpriomap", value: fmt.Sprintf("%s %d", p.Name, p.Priority)})
		}
	}
	return all
}

func rdma(limits map[string]specs.LinuxRdma) []setting {
	var all []setting
	for device, l := range limits {
		value := device
		if l.HcaHandles != nil {
			value += fmt.Sprintf(" hca_handle=%d", *l.HcaHandles)
		}
		if l.HcaObjects != nil {
			value += fmt.Sprintf(" hca_object=%d", *l.HcaObjects)
		}
		all = append(all, setting{file: "rdma.max", value: value})
	}
	return all
}

// limit writes a number as a limit: nothing below one is a limit.
func limit(n int64) string {
	if n <= 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}
