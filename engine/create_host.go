package engine

import (
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/logs"
	"github.com/cove-containers/cove/spec"
)

// defaultShmSize is the size of /dev/shm where nobody says otherwise.
const defaultShmSize = 64 << 20

// completeHost fills in what a request leaves to the daemon; the request stays as it is.
func (e *Engine) completeHost(request *ct.HostConfig) *ct.HostConfig {
	cfg := &e.parts.Config
	h := ct.HostConfig{}
	if request != nil {
		h = *request
	}
	if h.NetworkMode == "" || h.NetworkMode.IsDefault() {
		h.NetworkMode = nt.NetworkBridge
	}
	if h.RestartPolicy.Name == "" {
		h.RestartPolicy.Name = ct.RestartPolicyDisabled
	}
	if h.IpcMode.IsEmpty() {
		h.IpcMode = ct.IPCModePrivate
	}
	if h.CgroupnsMode.IsEmpty() {
		h.CgroupnsMode = ct.CgroupnsModePrivate
	}
	if h.Runtime == "" {
		h.Runtime = cfg.DefaultRuntime
	}
	if h.ShmSize == 0 {
		h.ShmSize = cfg.ShmSize
	}
	if h.ShmSize == 0 {
		h.ShmSize = defaultShmSize
	}
	if h.Memory > 0 && h.MemorySwap == 0 {
		h.MemorySwap = 2 * h.Memory
	}
	if h.PidsLimit != nil && *h.PidsLimit <= 0 {
		h.PidsLimit = nil
	}
	if h.MemorySwappiness != nil && *h.MemorySwappiness == -1 {
		h.MemorySwappiness = nil
	}
	h.LogConfig = e.completeLog(h.LogConfig)
	if !h.Privileged {
		if h.MaskedPaths == nil {
			h.MaskedPaths = spec.MaskedPaths()
		}
		if h.ReadonlyPaths == nil {
			h.ReadonlyPaths = spec.ReadonlyPaths()
		}
	}
	return &h
}

// completeLog is the log driver of a container: the daemon's with its options, or the one named; options of the
// daemon count where the driver is the daemon's too.
func (e *Engine) completeLog(request ct.LogConfig) ct.LogConfig {
	driver := e.parts.Config.LogDriver
	if driver == "" {
		driver = logs.JSONFile
	}
	out := ct.LogConfig{Type: request.Type, Config: map[string]string{}}
	if out.Type == "" {
		out.Type = driver
	}
	if out.Type == driver {
		maps.Copy(out.Config, e.parts.Config.LogOptions)
	}
	maps.Copy(out.Config, request.Config)
	return out
}

// describeHost finds out what validation must know of the machine.
func (e *Engine) describeHost() plan.Host {
	cfg := &e.parts.Config
	return plan.Host{
		CPUs:     runtime.NumCPU(),
		Cpus:     line("/sys/devices/system/cpu/online"),
		Mems:     line("/sys/devices/system/node/online"),
		Runtimes: slices.Sorted(maps.Keys(e.runtimes())),
		Systemd:  strings.HasSuffix(cfg.CgroupParent, ".slice"),
	}
}

// runtimes are the names --runtime accepts, with the path of each; Cove's own has none.
func (e *Engine) runtimes() map[string]string {
	all := map[string]string{OwnRuntime: ""}
	maps.Copy(all, e.parts.Config.Runtimes)
	return all
}

// line is the one line of a small file of the kernel's, or "".
func line(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}
