package engine

import (
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/cove-containers/cove/engine/plan"
)

// describeHost finds out what validation must know of the machine.
func (e *Engine) describeHost() plan.Host {
	cfg := e.config()
	return plan.Host{
		CPUs:     runtime.NumCPU(),
		Cpus:     line("/sys/devices/system/cpu/online"),
		Mems:     line("/sys/devices/system/node/online"),
		Realtime: line("/sys/fs/cgroup/cpu/cpu.rt_period_us") != "",
		Remapped: cfg.Remap != nil,
		Systemd:  strings.HasSuffix(cfg.CgroupParent, ".slice"),
	}
}

// machine is what is known of the host, with the runtimes that there are by now.
func (e *Engine) machine() plan.Host {
	h := e.host
	h.Runtimes = slices.Sorted(maps.Keys(e.runtimes()))
	return h
}

// runtimes are the names --runtime accepts, with the path of each; Cove's own has none.
func (e *Engine) runtimes() map[string]string {
	all := map[string]string{OwnRuntime: ""}
	maps.Copy(all, e.config().Runtimes)
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
