package commandline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
)

// defaultShmSize is the size of /dev/shm that needs no telling.
const defaultShmSize = 64 << 20

// security is what the container may do.
func (w *writer) security() {
	h := w.host
	w.flag("--privileged", h.Privileged)
	w.flag("--read-only", h.ReadonlyRootfs)
	for _, name := range h.CapAdd {
		w.option("--cap-add", strings.TrimPrefix(name, "CAP_"))
	}
	for _, name := range h.CapDrop {
		w.option("--cap-drop", strings.TrimPrefix(name, "CAP_"))
	}
	for _, opt := range h.SecurityOpt {
		switch {
		case strings.HasPrefix(opt, "seccomp={"):
			w.note("the container has a seccomp profile of its own, and only its text is known: write it to a file and add --security-opt seccomp=FILE")
		case opt == "label=disable" && h.Privileged: // said by --privileged
		default:
			w.option("--security-opt", opt)
		}
	}
	if !h.Privileged && h.MaskedPaths != nil && len(h.MaskedPaths) == 0 && len(h.ReadonlyPaths) == 0 {
		w.option("--security-opt", "systempaths=unconfined")
	}
}

// memory are the limits that are counted in bytes.
func (w *writer) memory() {
	h := w.host
	w.bytes("--memory", h.Memory)
	if h.MemorySwap == -1 {
		w.option("--memory-swap", "-1")
	} else if h.MemorySwap != 2*h.Memory { // twice the memory is the default
		w.bytes("--memory-swap", h.MemorySwap)
	}
	w.bytes("--memory-reservation", h.MemoryReservation)
	if h.MemorySwappiness != nil {
		w.option("--memory-swappiness", strconv.FormatInt(*h.MemorySwappiness, 10))
	}
	w.flag("--oom-kill-disable", h.OomKillDisable != nil && *h.OomKillDisable)
	w.number("--oom-score-adj", int64(h.OomScoreAdj))
	if h.ShmSize != defaultShmSize {
		w.bytes("--shm-size", h.ShmSize)
	}
	if h.PidsLimit != nil {
		w.number("--pids-limit", *h.PidsLimit)
	}
	for _, u := range h.Ulimits {
		w.option("--ulimit", fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
	}
}

func (w *writer) processors() {
	h := w.host
	if h.NanoCPUs > 0 {
		whole, rest := h.NanoCPUs/1e9, h.NanoCPUs%1e9
		w.option("--cpus", strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%d.%09d", whole, rest), "0"), "."))
	}
	w.number("--cpu-shares", h.CPUShares)
	w.number("--cpu-period", h.CPUPeriod)
	w.number("--cpu-quota", h.CPUQuota)
	w.number("--cpu-rt-period", h.CPURealtimePeriod)
	w.number("--cpu-rt-runtime", h.CPURealtimeRuntime)
	w.option("--cpuset-cpus", h.CpusetCpus)
	w.option("--cpuset-mems", h.CpusetMems)
}

func (w *writer) devices() {
	for _, d := range w.host.Devices {
		text := d.PathOnHost
		if d.PathInContainer != d.PathOnHost || d.CgroupPermissions != "rwm" {
			text += ":" + d.PathInContainer
		}
		if d.CgroupPermissions != "rwm" {
			text += ":" + d.CgroupPermissions
		}
		w.option("--device", text)
	}
	for _, r := range w.host.DeviceRequests {
		if r.Driver == "cdi" {
			w.options("--device", r.DeviceIDs...)
			continue
		}
		w.note("devices asked for from the driver " + strconv.Quote(r.Driver) + " are left out")
	}
	w.options("--device-cgroup-rule", w.host.DeviceCgroupRules...)
}

func (w *writer) blockIO() {
	h := w.host
	w.number("--blkio-weight", int64(h.BlkioWeight))
	for _, d := range h.BlkioWeightDevice {
		w.option("--blkio-weight-device", fmt.Sprintf("%s:%d", d.Path, d.Weight))
	}
	for _, limit := range []struct {
		name string
		list []*blkiodev.ThrottleDevice
	}{
		{"--device-read-bps", h.BlkioDeviceReadBps}, {"--device-write-bps", h.BlkioDeviceWriteBps},
		{"--device-read-iops", h.BlkioDeviceReadIOps}, {"--device-write-iops", h.BlkioDeviceWriteIOps},
	} {
		for _, d := range limit.list {
			w.option(limit.name, fmt.Sprintf("%s:%d", d.Path, d.Rate))
		}
	}
	w.pairs("--storage-opt", h.StorageOpt)
}

// number adds an option unless its value is zero, the default of all of them.
func (w *writer) number(name string, n int64) {
	if n != 0 {
		w.option(name, strconv.FormatInt(n, 10))
	}
}

// bytes is number for sizes, in the largest unit that is exact.
func (w *writer) bytes(name string, n int64) {
	if n != 0 {
		w.option(name, size(n))
	}
}

func size(n int64) string {
	for _, unit := range []struct {
		bytes int64
		name  string
	}{{1 << 30, "g"}, {1 << 20, "m"}, {1 << 10, "k"}} {
		if n != 0 && n%unit.bytes == 0 {
			return strconv.FormatInt(n/unit.bytes, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// ownName tells whether the container's host name is one nobody chose: its short ID, or that of the host it shares.
func (w *writer) ownName() bool {
	name, id := w.config.Hostname, w.container.ID
	shared := w.host.NetworkMode.IsHost() || w.host.UTSMode.IsHost()
	return name == id[:min(12, len(id))] || shared && name == w.known.Daemon.Name
}

// isRunning tells whether addresses are those in use rather than those wished for.
func isRunning(c container.InspectResponse) bool {
	return c.State != nil && slices.Contains([]container.ContainerState{container.StateRunning, container.StatePaused, container.StateRestarting}, c.State.Status)
}
