package spec

import (
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/blkiodev"
	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/sys"
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
// is not set is nil, so that an update leaves it alone.
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

func blockIO(s Settings, doc *specs.Spec) error {
	r := s.HostConfig.Resources
	b := &specs.LinuxBlockIO{}
	if r.BlkioWeight != 0 {
		b.Weight = &r.BlkioWeight
	}
	for _, w := range r.BlkioWeightDevice {
		d, err := sys.DeviceAt(w.Path)
		if err != nil {
			return fmt.Errorf("weight of device %s: %w (%w)", w.Path, err, errdefs.ErrInvalidArgument)
		}
		weighted := specs.LinuxWeightDevice{Weight: &w.Weight}
		weighted.Major, weighted.Minor = d.Major, d.Minor
		b.WeightDevice = append(b.WeightDevice, weighted)
	}
	for _, t := range []struct {
		from []*blkiodev.ThrottleDevice
		into *[]specs.LinuxThrottleDevice
	}{
		{r.BlkioDeviceReadBps, &b.ThrottleReadBpsDevice}, {r.BlkioDeviceWriteBps, &b.ThrottleWriteBpsDevice},
		{r.BlkioDeviceReadIOps, &b.ThrottleReadIOPSDevice}, {r.BlkioDeviceWriteIOps, &b.ThrottleWriteIOPSDevice},
	} {
		for _, from := range t.from {
			d, err := sys.DeviceAt(from.Path)
			if err != nil {
				return fmt.Errorf("throttle device %s: %w (%w)", from.Path, err, errdefs.ErrInvalidArgument)
			}
			throttled := specs.LinuxThrottleDevice{Rate: from.Rate}
			throttled.Major, throttled.Minor = d.Major, d.Minor
			*t.into = append(*t.into, throttled)
		}
	}
	doc.Linux.Resources.BlockIO = b
	return nil
}
