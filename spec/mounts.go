package spec

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// mounts lays out the kernel's file systems, then the user's mounts, a parent always before what lies in it.
func mounts(s Settings, doc *specs.Spec) error {
	opts, err := ParseSecurity(s.HostConfig.SecurityOpt)
	if err != nil {
		return err
	}
	groupsWritable := s.HostConfig.Privileged
	if opts.WritableCgroups != nil {
		groupsWritable = *opts.WritableCgroups
	}
	doc.Mounts = []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: readOnlyUnless(s.HostConfig.Privileged, "nosuid", "noexec", "nodev")},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: readOnlyUnless(groupsWritable, "nosuid", "noexec", "nodev")},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
	}
	if s.Users != nil && s.IPC.Host {
		// Only who owns the namespace of the queues can mount them.
		doc.Mounts = slices.DeleteFunc(doc.Mounts, func(m specs.Mount) bool { return m.Type == "mqueue" })
	}
	if !s.HostConfig.IpcMode.IsNone() {
		doc.Mounts = append(doc.Mounts, shm(s))
	}
	// The user's mount replaces the engine's at the same place, as with -v /dev/shm:/dev/shm.
	doc.Mounts = slices.DeleteFunc(doc.Mounts, func(m specs.Mount) bool { return targeted(s.Mounts, m.Destination) })
	for _, m := range sorted(s.Mounts) {
		doc.Mounts = append(doc.Mounts, specs.Mount{Destination: m.Target, Type: m.Type, Source: m.Source, Options: options(s, m)})
	}
	return nil
}

func readOnlyUnless(writable bool, options ...string) []string {
	if writable {
		return append(options, "rw")
	}
	return append(options, "ro")
}

func shm(s Settings) specs.Mount {
	if s.ShmSource != "" {
		return specs.Mount{Destination: "/dev/shm", Type: "bind", Source: s.ShmSource, Options: []string{"rbind", "rprivate"}}
	}
	size := s.HostConfig.ShmSize
	if size == 0 {
		size = cmp.Or(s.DefaultShmSize, 64<<20)
	}
	return specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.FormatInt(size, 10)}}
}

func targeted(all []Mount, target string) bool {
	return slices.ContainsFunc(all, func(m Mount) bool { return path.Clean(m.Target) == target })
}

// sorted orders by depth, so that a bind under a volume is mounted after the volume whatever the order given.
func sorted(all []Mount) []Mount {
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b Mount) int { return cmp.Compare(depth(a.Target), depth(b.Target)) })
	return out
}

func depth(target string) int { return strings.Count(path.Clean(target), "/") }

func options(s Settings, m Mount) []string {
	out := slices.Clone(m.Options)
	switch {
	case s.Users == nil:
	case m.MayOwn:
		out = append(out, "x-cove.mayidmap") // our runtime's own word
	case m.Owned:
		out = append(out, "idmap")
	}
	if m.Type == "bind" {
		out = append(out, cmp.Or(map[bool]string{true: "bind"}[m.NonRecursive], "rbind"), cmp.Or(m.Propagation, "rprivate"))
	}
	if m.Subpath != "" {
		out = append(out, "x-cove.subpath="+m.Subpath) // our runtime's own word
	}
	switch {
	case !m.ReadOnly:
		return out
	case m.Type != "bind" || m.ReadOnlyNonRecursive || m.NonRecursive:
		return append(out, "ro")
	default:
		return append(out, "rro")
	}
}

// managedFiles binds the files the engine writes, unless the user mounts something of their own there. With a
// read-only root they are read-only too.
func managedFiles(s Settings, doc *specs.Spec) error {
	for _, f := range []struct{ source, target string }{
		{s.ResolvConf, "/etc/resolv.conf"}, {s.HostnameFile, "/etc/hostname"}, {s.Hosts, "/etc/hosts"},
	} {
		if f.source == "" || targeted(s.Mounts, f.target) {
			continue
		}
		m := Mount{Type: "bind", Source: f.source, Target: f.target, Owned: true, ReadOnly: s.HostConfig.ReadonlyRootfs}
		doc.Mounts = append(doc.Mounts, specs.Mount{Destination: m.Target, Type: m.Type, Source: m.Source, Options: options(s, m)})
	}
	return nil
}
