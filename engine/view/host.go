package view

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cove-containers/cove/sys"
)

// host is what the machine can do and what it is called.
type host struct {
	cgroupVersion                                             string
	memoryLimit, swapLimit, cpuQuota, cpuShares, cpuset, pids bool
	oomKillDisable                                            bool
	system, systemVersion                                     string
	memory                                                    int64
}

const cgroupRoot = "/sys/fs/cgroup"

// readHost looks at the machine.
func readHost() host {
	h := host{memory: memTotal()}
	h.system, h.systemVersion = operatingSystem()
	has := func(path string) bool {
		_, err := os.Stat(filepath.Join(cgroupRoot, path))
		return err == nil
	}
	if controllers := oneLine(filepath.Join(cgroupRoot, "cgroup.controllers")); has("cgroup.controllers") {
		h.cgroupVersion = "2"
		on := map[string]bool{}
		for _, c := range strings.Fields(controllers) {
			on[c] = true
		}
		h.memoryLimit, h.swapLimit, h.cpuQuota, h.cpuShares = on["memory"], on["memory"], on["cpu"], on["cpu"]
		h.cpuset, h.pids = on["cpuset"], on["pids"]
		return h
	}
	h.cgroupVersion = "1"
	h.memoryLimit, h.swapLimit = has("memory/memory.limit_in_bytes"), has("memory/memory.memsw.limit_in_bytes")
	h.oomKillDisable = has("memory/memory.oom_control")
	h.cpuQuota, h.cpuShares = has("cpu/cpu.cfs_quota_us"), has("cpu/cpu.shares")
	h.cpuset, h.pids = has("cpuset/cpuset.cpus"), has("pids/cgroup.procs")
	return h
}

// warnings name what the machine cannot do, in Docker's words.
func (h host) warnings() []string {
	var out []string
	for _, w := range []struct {
		can  bool
		what string
	}{
		{h.memoryLimit, "memory limit"}, {h.swapLimit, "swap limit"}, {h.cpuQuota, "cpu cfs quota"},
		{h.cpuQuota, "cpu cfs period"}, {h.cpuShares, "cpu shares"}, {h.cpuset, "cpuset"}, {h.pids, "pids limit"},
	} {
		if !w.can {
			out = append(out, "WARNING: No "+w.what+" support")
		}
	}
	return out
}

// oneLine is the content of a small file, or "".
func oneLine(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

func countEntries(dir string) int {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	return len(entries)
}

func memTotal() int64 {
	for line := range strings.Lines(oneLine("/proc/meminfo")) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
			return kb * 1024
		}
	}
	return 0
}

// operatingSystem is the distribution's name and version by os-release.
func operatingSystem() (name, version string) {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		values := osRelease(string(raw))
		if name = values["PRETTY_NAME"]; name == "" {
			name = values["NAME"]
		}
		return name, values["VERSION_ID"]
	}
	return "Linux", ""
}

// osRelease reads assignments whose values may be quoted.
func osRelease(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		values[key] = strings.Trim(value, `"'`)
	}
	return values
}

// fileSystemOf is the type of the file system that holds path.
func fileSystemOf(path string) string {
	mounts, err := sys.MountsOf("self")
	if err != nil {
		return "unknown"
	}
	best, kind := -1, "unknown"
	for _, m := range mounts {
		below := path == m.Point || m.Point == "/" || strings.HasPrefix(path, m.Point+"/")
		if below && len(m.Point) >= best {
			best, kind = len(m.Point), m.Kind
		}
	}
	return kind
}
