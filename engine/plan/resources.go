package plan

import (
	"strconv"
	"strings"

	ct "github.com/moby/moby/api/types/container"
)

// minMemory is the least memory a container can be limited to: below it nothing starts.
const minMemory = 6 << 20

// ValidateResources checks limits with Docker's words; update tells that they are to change a container's. What
// cannot be had is taken out of r, with a warning.
func ValidateResources(r *ct.Resources, host Host, update bool) (warnings []string, err error) {
	if err := validateMemory(r, update); err != nil {
		return nil, err
	}
	if err := validateCPU(r, host); err != nil {
		return nil, err
	}
	if r.BlkioWeight > 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000) {
		return nil, invalid("Range of blkio weight is from 10 to 1000")
	}
	if r.IOMaximumBandwidth != 0 || r.IOMaximumIOps != 0 {
		return nil, invalid("Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps")
	}
	if host.Systemd && r.CgroupParent != "" && !strings.HasSuffix(r.CgroupParent, ".slice") {
		return nil, invalid("cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"")
	}
	if r.CPUPercent > 0 {
		warnings = append(warnings, "linux does not support CPU percent. Percent discarded.")
		r.CPUPercent = 0
	}
	if r.OomKillDisable != nil && *r.OomKillDisable && r.Memory == 0 {
		warnings = append(warnings, "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.")
	}
	return warnings, nil
}

func validateMemory(r *ct.Resources, update bool) error {
	switch {
	case r.Memory < 0:
		return invalid("Minimum memory limit allowed is 6MB")
	case r.Memory != 0 && r.Memory < minMemory:
		return invalid("Minimum memory limit allowed is 6MB")
	case r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return invalid("Minimum memoryswap limit should be larger than memory limit, see usage")
	case r.Memory == 0 && r.MemorySwap > 0 && !update:
		return invalid("You should always set the Memory limit when using Memoryswap limit, see usage")
	case r.MemorySwappiness != nil && (*r.MemorySwappiness < -1 || *r.MemorySwappiness > 100):
		return invalid("Invalid value: %v, valid memory swappiness range is 0-100", *r.MemorySwappiness)
	case r.MemoryReservation > 0 && r.MemoryReservation < minMemory:
		return invalid("Minimum memory reservation allowed is 6MB")
	case r.Memory > 0 && r.MemoryReservation > 0 && r.Memory < r.MemoryReservation:
		return invalid("Minimum memory limit can not be less than memory reservation limit, see usage")
	}
	return nil
}

func validateCPU(r *ct.Resources, host Host) error {
	switch {
	case r.NanoCPUs > 0 && r.CPUPeriod > 0:
		return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota > 0:
		return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(host.CPUs)*1e9:
		return invalid("range of CPUs is from 0.01 to %[1]d.00, as there are only %[1]d CPUs available", host.CPUs)
	case (r.CPURealtimePeriod != 0 || r.CPURealtimeRuntime != 0) && !host.Realtime:
		return invalid("kernel does not support CPU real-time scheduler")
	case r.CPURealtimePeriod != 0 && r.CPURealtimeRuntime > r.CPURealtimePeriod:
		return invalid("cpu real-time runtime cannot be higher than cpu real-time period")
	case r.CPUShares < 0:
		return invalid("invalid CPU shares (%d): value must be a positive integer", r.CPUShares)
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1000000):
		return invalid("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.CPUQuota > 0 && r.CPUQuota < 1000:
		return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	}
	for _, set := range []struct{ what, flag, want, have string }{
		{"CPUs", "cpus", r.CpusetCpus, host.Cpus}, {"memory nodes", "mems", r.CpusetMems, host.Mems},
	} {
		want, err := parseSet(set.want)
		if err != nil {
			return invalid("Invalid value %s for cpuset %s", set.want, set.flag)
		}
		have, err := parseSet(set.have)
		if err != nil || set.have == "" {
			continue
		}
		for n := range want {
			if !have[n] {
				return invalid("Requested %s are not available - requested %s, available: %s", set.what, set.want, set.have)
			}
		}
	}
	return nil
}

// maxSet bounds the numbers a set may name, so that "0-4000000000" costs nothing.
const maxSet = 8192

// parseSet reads a list of numbers and ranges: "0-2,7".
func parseSet(text string) (map[int]bool, error) {
	out := map[int]bool{}
	if text == "" {
		return out, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			last = first
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if errA != nil || errB != nil || a < 0 || b < a || b > maxSet {
			return nil, invalid("invalid set %q", text)
		}
		for n := a; n <= b; n++ {
			out[n] = true
		}
	}
	return out, nil
}
