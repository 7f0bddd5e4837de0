package view

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/runtime"
)

// statsPeriod is the time between two figures of a stream.
const statsPeriod = time.Second

// ContainerStats gives what the container uses: once a second, or without stream one time, which takes two looks a
// second apart unless oneShot says that the first will do. A container that does not run uses nothing. It ends when
// emit fails, ctx is done or the container is removed.
func (v *View) ContainerStats(ctx context.Context, ref string, stream, oneShot bool, emit func(ct.StatsResponse) error) error {
	c, err := v.parts.Containers.Get(ref)
	if err != nil {
		return err
	}
	if !stream && !c.State.Alive() {
		return emit(noStats(c))
	}
	var last, gone ct.StatsResponse // gone is what is told when it is removed while somebody waits for an answer
	ticker := time.NewTicker(statsPeriod)
	defer ticker.Stop()
	for skip := !stream && !oneShot; ; skip = false {
		s := v.look(c)
		s.PreRead, s.PreCPUStats = last.Read, last.CPUStats
		if !skip {
			if err := emit(s); err != nil || !stream {
				return err
			}
		}
		last, gone = s, noStats(c)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if c, err = v.parts.Containers.Get(c.ID); err != nil {
			if errdefs.IsNotFound(err) && !stream {
				return emit(gone)
			}
			if errdefs.IsNotFound(err) {
				return nil
			}
			return err
		}
	}
}

func noStats(c *container.Container) ct.StatsResponse {
	return ct.StatsResponse{ID: c.ID, Name: "/" + c.Name, OSType: "linux"}
}

// look reads the figures of this moment. A container that ends while it is looked at uses nothing.
func (v *View) look(c *container.Container) ct.StatsResponse {
	if !c.State.Alive() {
		return noStats(c)
	}
	group, err := runtime.OpenCgroup(v.parts.CgroupPath(c))
	if err != nil {
		return noStats(c)
	}
	figures, err := group.Stats()
	if err != nil {
		return noStats(c)
	}
	s := statsOf(figures)
	s.ID, s.Name, s.OSType, s.Read = c.ID, "/"+c.Name, "linux", time.Now().UTC()
	s.CPUStats.SystemUsage, s.CPUStats.OnlineCPUs = machineTime()
	if !c.HostConfig.NetworkMode.IsHost() {
		if table, err := os.ReadFile("/proc/" + strconv.Itoa(c.State.Pid) + "/net/dev"); err == nil {
			s.Networks = devices(string(table))
		}
	}
	return s
}

// statsOf puts figures of a control group into the API's form.
func statsOf(f runtime.Stats) ct.StatsResponse {
	s := ct.StatsResponse{
		CPUStats: ct.CPUStats{
			CPUUsage: ct.CPUUsage{
				TotalUsage: f.CPU.Total, PercpuUsage: f.CPU.PerCPU, UsageInKernelmode: f.CPU.Kernel, UsageInUsermode: f.CPU.User,
			},
			ThrottlingData: ct.ThrottlingData{
				Periods: f.CPU.Periods, ThrottledPeriods: f.CPU.ThrottledPeriods, ThrottledTime: f.CPU.ThrottledNanos,
			},
		},
		MemoryStats: ct.MemoryStats{
			Usage: f.Memory.Usage, MaxUsage: f.Memory.MaxUsage, Limit: f.Memory.Limit, Failcnt: f.Memory.FailCount, Stats: f.Memory.Detail,
		},
		PidsStats: ct.PidsStats{Current: f.Pids.Current, Limit: f.Pids.Limit},
	}
	s.BlkioStats.IoServiceBytesRecursive = blockEntries(f.BlockIO.Bytes)
	if f.Unified {
		return s
	}
	none := []ct.BlkioStatEntry{}
	s.BlkioStats.IoServicedRecursive = blockEntries(f.BlockIO.Operations)
	s.BlkioStats.IoQueuedRecursive, s.BlkioStats.IoServiceTimeRecursive, s.BlkioStats.IoWaitTimeRecursive = none, none, none
	s.BlkioStats.IoMergedRecursive, s.BlkioStats.IoTimeRecursive, s.BlkioStats.SectorsRecursive = none, none, none
	return s
}

func blockEntries[E ~struct {
	Major, Minor uint64
	Op           string
	Value        uint64
}](in []E) []ct.BlkioStatEntry {
	out := make([]ct.BlkioStatEntry, 0, len(in))
	for _, e := range in {
		out = append(out, ct.BlkioStatEntry(e))
	}
	return out
}

// machineTime is the processor time that has passed on the whole machine, in nanoseconds, and the number of
// processors.
func machineTime() (nanos uint64, cpus uint32) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	return parseMachineTime(string(raw))
}

// ticksPerSecond is the unit of /proc/stat: the same on every Linux that Go runs on.
const ticksPerSecond = 100

// parseMachineTime reads the first lines of /proc/stat: the sum over user, nice, system, idle, iowait, irq and
// softirq.
func parseMachineTime(text string) (nanos uint64, cpus uint32) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || !strings.HasPrefix(fields[0], "cpu") {
			break
		}
		if fields[0] != "cpu" {
			cpus++
			continue
		}
		for _, f := range fields[1:min(8, len(fields))] {
			ticks, err := strconv.ParseUint(f, 10, 64)
			if err != nil {
				return 0, cpus
			}
			nanos += ticks * uint64(time.Second/ticksPerSecond)
		}
	}
	return nanos, cpus
}

// devices reads /proc/net/dev: the counters of every device but the loopback.
func devices(table string) map[string]ct.NetworkStats {
	out := map[string]ct.NetworkStats{}
	for line := range strings.Lines(table) {
		name, counters, ok := strings.Cut(line, ":")
		fields := strings.Fields(counters)
		if name = strings.TrimSpace(name); !ok || name == "lo" || len(fields) < 12 {
			continue
		}
		var n [12]uint64
		for i := range n {
			n[i], _ = strconv.ParseUint(fields[i], 10, 64)
		}
		out[name] = ct.NetworkStats{
			RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11],
		}
	}
	return out
}
