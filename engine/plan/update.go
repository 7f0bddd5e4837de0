package plan

import (
	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
)

// Update lays the fields that are set in u over a container's settings and returns new ones. A list of devices' limits
// takes the place of the one before; an empty one lifts them, nil leaves them.
func Update(before *ct.HostConfig, u ct.UpdateConfig) (*ct.HostConfig, error) {
	h := *before
	r := &h.Resources
	for _, pair := range []struct {
		into *int64
		from int64
	}{
		{&r.CPUShares, u.CPUShares}, {&r.CPUPeriod, u.CPUPeriod}, {&r.CPUQuota, u.CPUQuota},
		{&r.CPURealtimePeriod, u.CPURealtimePeriod}, {&r.CPURealtimeRuntime, u.CPURealtimeRuntime},
		{&r.Memory, u.Memory}, {&r.MemorySwap, u.MemorySwap}, {&r.MemoryReservation, u.MemoryReservation}, {&r.NanoCPUs, u.NanoCPUs},
	} {
		if pair.from != 0 {
			*pair.into = pair.from
		}
	}
	if u.NanoCPUs > 0 && (before.CPUPeriod > 0 || before.CPUQuota > 0) {
		return nil, conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period and/or Quota has already been set")
	}
	if before.NanoCPUs > 0 && u.NanoCPUs == 0 && (u.CPUPeriod > 0 || u.CPUQuota > 0) {
		return nil, conflict("Conflicting options: CPU Period and Quota cannot be updated as NanoCPUs has already been set")
	}
	r.BlkioWeight = or(u.BlkioWeight, r.BlkioWeight)
	r.BlkioWeightDevice = orList(u.BlkioWeightDevice, r.BlkioWeightDevice)
	r.BlkioDeviceReadBps = orList(u.BlkioDeviceReadBps, r.BlkioDeviceReadBps)
	r.BlkioDeviceWriteBps = orList(u.BlkioDeviceWriteBps, r.BlkioDeviceWriteBps)
	r.BlkioDeviceReadIOps = orList(u.BlkioDeviceReadIOps, r.BlkioDeviceReadIOps)
	r.BlkioDeviceWriteIOps = orList(u.BlkioDeviceWriteIOps, r.BlkioDeviceWriteIOps)
	r.CpusetCpus = or(u.CpusetCpus, r.CpusetCpus)
	r.CpusetMems = or(u.CpusetMems, r.CpusetMems)
	if u.PidsLimit != nil {
		limit := *u.PidsLimit
		r.PidsLimit = &limit
	}
	if u.Memory > 0 && u.MemorySwap == 0 && before.MemorySwap > 0 && u.Memory > before.MemorySwap {
		return nil, conflict("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	}
	if u.RestartPolicy.Name != "" {
		if err := ct.ValidateRestartPolicy(u.RestartPolicy); err != nil {
			return nil, invalid("%s", err.Error())
		}
		if h.AutoRemove && !u.RestartPolicy.IsNone() {
			return nil, conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
		}
		h.RestartPolicy = u.RestartPolicy
	}
	return &h, nil
}

func conflict(text string) error { return errdefs.ErrConflict.WithMessage(text) }

func orList[E any](a, b []E) []E {
	if a != nil {
		return a
	}
	return b
}
