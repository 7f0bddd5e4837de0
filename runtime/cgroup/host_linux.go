package cgroup

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/sys"
)

// hierarchy is one tree of control groups of the host.
type hierarchy struct {
	// name is the folder it is usually mounted on ("cpu,cpuacct"), empty for the unified hierarchy.
	name string
	// controllers lists what it controls: kernel controllers, or "name=..." for one that only groups.
	controllers []string
	// mount is where it is mounted, root what part of it ("/" as a rule).
	mount string
}

// controls tells whether the hierarchy has a controller.
func (h hierarchy) controls(controller string) bool {
	for _, c := range h.controllers {
		if c == controller {
			return true
		}
	}
	return false
}

// host is the layout of a host's control groups: either one unified hierarchy or several older ones.
type host struct {
	unified     bool
	hierarchies []hierarchy
}

// thisHost is the layout of the host this process runs on, which never changes while it runs.
var thisHost = sync.OnceValues(func() (host, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return host{}, fmt.Errorf("find cgroups: %w", err)
	}
	defer f.Close()
	h, err := readHost(f)
	if err != nil {
		return host{}, fmt.Errorf("find cgroups: %w", err)
	}
	return h, nil
})

// readHost finds the hierarchies in a mountinfo file. Where the older hierarchies are mounted they hold the
// controllers, and the unified one beside them is of no use to a container.
func readHost(mountinfo io.Reader) (host, error) {
	var old, unified []hierarchy
	seen := map[string]bool{}
	mounts, err := sys.ReadMounts(mountinfo)
	if err != nil {
		return host{}, err
	}
	for _, m := range mounts {
		if m.Root != "/" || m.Options == "" {
			continue
		}
		if m.Kind == "cgroup2" {
			unified = append(unified, hierarchy{mount: m.Point})
			continue
		}
		h := hierarchy{name: filepath.Base(m.Point), mount: m.Point, controllers: controllersOf(m.Options)}
		key := strings.Join(h.controllers, ",")
		if m.Kind != "cgroup" || seen[key] || key == "" {
			continue
		}
		seen[key] = true
		old = append(old, h)
	}
	switch {
	case len(old) > 0:
		return host{hierarchies: old}, nil
	case len(unified) > 0:
		return host{unified: true, hierarchies: unified[:1]}, nil
	}
	return host{}, fmt.Errorf("no cgroup file system is mounted: %w", errdefs.ErrNotImplemented)
}

// controllersOf picks the controllers from a file system's options, which also say ro, xattr and the like.
func controllersOf(options string) []string {
	var out []string
	for _, o := range strings.Split(options, ",") {
		switch o {
		case "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "net_cls", "net_prio", "blkio", "perf_event", "hugetlb", "pids", "rdma", "misc", "debug":
			out = append(out, o)
		default:
			if strings.HasPrefix(o, "name=") {
				out = append(out, o)
			}
		}
	}
	return out
}

// Unified tells whether the host has the unified hierarchy (cgroup v2) alone.
func Unified() (bool, error) {
	h, err := thisHost()
	return h.unified, err
}
