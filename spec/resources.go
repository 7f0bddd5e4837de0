package spec

import (
	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func limits(s Settings, doc *specs.Spec) error {
	r := Resources(s.HostConfig.Resources)
	r.Devices, r.BlockIO = doc.Linux.Resources.Devices, doc.Linux.Resources.BlockIO
	doc.Linux.Resources = r
	return nil
}

// cpuPeriod is the length of a CPU accounting period in microseconds, where the user names none.
const cpuPeriod = 100_000

// Resources translates the limits that can also change while a container runs: memory, CPU, pids, weight. A limit that
// is not set is nil, so that an update leaves it alone. For those of devices see UpdateDevices.
func Resources(r ct.Resources) *specs.LinuxResources {
	out := &specs.LinuxResources{Memory: memory(r), CPU: cpu(r)}
	if r.BlkioWeight != 0 {
		out.BlockIO = &specs.LinuxBlockIO{Weight: &r.BlkioWeight}
	}
	if r.PidsLimit != nil {
		limit := *r.PidsLimit
		if limit <= 0 {
			limit = -1
		}
		out.Pids = &specs.LinuxPids{Limit: &limit}
	}
	return out
}

func memory(r ct.Resources) *specs.LinuxMemory {
	m := &specs.LinuxMemory{DisableOOMKiller: r.OomKillDisable}
	set := false
	for _, v := range []struct {
		value int64
		into  **int64
	}{{r.Memory, &m.Limit}, {r.MemoryReservation, &m.Reservation}, {swap(r), &m.Swap}} {
		if v.value != 0 {
			*v.into, set = &v.value, true
		}
	}
	if r.MemorySwappiness != nil && *r.MemorySwappiness >= 0 {
		swappiness := uint64(*r.MemorySwappiness)
		m.Swappiness, set = &swappiness, true
	}
	if !set && r.OomKillDisable == nil {
		return nil
	}
	return m
}

// swap is the limit of memory and swap together: as given, else twice the memory limit, as Docker has it.
func swap(r ct.Resources) int64 {
	if r.MemorySwap == 0 && r.Memory > 0 {
		return 2 * r.Memory
	}
	return r.MemorySwap
}

func cpu(r ct.Resources) *specs.LinuxCPU {
	c := &specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
	set := r.CpusetCpus != "" || r.CpusetMems != ""
	if r.CPUShares != 0 {
		shares := uint64(max(r.CPUShares, 2))
		c.Shares, set = &shares, true
	}
	quota, period := r.CPUQuota, uint64(r.CPUPeriod)
	if r.NanoCPUs > 0 {
		quota, period = r.NanoCPUs*cpuPeriod/1e9, cpuPeriod
	}
	if period != 0 {
		c.Period, set = &period, true
	}
	if quota != 0 {
		c.Quota, set = &quota, true
	}
	if r.CPURealtimePeriod != 0 {
		p := uint64(r.CPURealtimePeriod)
		c.RealtimePeriod, set = &p, true
	}
	if r.CPURealtimeRuntime != 0 {
		c.RealtimeRuntime, set = &r.CPURealtimeRuntime, true
	}
	if !set {
		return nil
	}
	return c
}
