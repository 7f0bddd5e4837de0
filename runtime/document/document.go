// Package document writes what OCI documents begin with, and completes them as other runtimes do.
package document

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/sys"
)

// Example is a document to begin with: a shell in every namespace of its own, with few rights.
func Example() *specs.Spec {
	caps := []string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Terminal: true, Args: []string{"sh"}, Cwd: "/", NoNewPrivileges: true,
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
		},
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Hostname: "cove",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
		},
		Linux: &specs.Linux{
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, {Type: specs.CgroupNamespace},
			},
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
				"/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

// GuardDevices completes the device rules of a document the way other runtimes do: what no rule names is denied, and
// the devices every container has are allowed, whatever the document says.
func GuardDevices(linux *specs.Linux) {
	if linux.Resources == nil {
		linux.Resources = &specs.LinuxResources{}
	}
	rules := append([]specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}, linux.Resources.Devices...)
	for _, kind := range []string{"c", "b"} {
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: kind, Access: "m"})
	}
	// null, zero, full, random, urandom, tty, ptmx
	for _, n := range [][2]int64{{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 2}} {
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &n[0], Minor: &n[1], Access: "rwm"})
	}
	terminals := int64(136)
	linux.Resources.Devices = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &terminals, Access: "rwm"})
}

// CapabilityLists are the five sets in the order bounding, effective, permitted, inheritable, ambient.
func CapabilityLists(c *specs.LinuxCapabilities) [][]string {
	if c == nil {
		return nil
	}
	return [][]string{c.Bounding, c.Effective, c.Permitted, c.Inheritable, c.Ambient}
}

// UnknownCapabilities lists what the process asks for and this system does not know: the specification wants a warning
// for those, and nothing else.
func UnknownCapabilities(p *specs.Process) []string {
	var unknown []string
	for _, names := range CapabilityLists(p.Capabilities) {
		for _, name := range names {
			if _, known := sys.CapabilityNumber(name); !known && !slices.Contains(unknown, name) {
				unknown = append(unknown, name)
			}
		}
	}
	return unknown
}
