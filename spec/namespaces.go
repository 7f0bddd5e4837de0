package spec

import "github.com/opencontainers/runtime-spec/specs-go"

func namespaces(s Settings, doc *specs.Spec) error {
	doc.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	for _, n := range []struct {
		kind specs.LinuxNamespaceType
		want Namespace
	}{
		{specs.PIDNamespace, s.PID},
		{specs.IPCNamespace, s.IPC},
		{specs.UTSNamespace, s.UTS},
		{specs.NetworkNamespace, s.Net},
		{specs.CgroupNamespace, s.Cgroup},
	} {
		if !n.want.Host {
			doc.Linux.Namespaces = append(doc.Linux.Namespaces, specs.LinuxNamespace{Type: n.kind, Path: n.want.Path})
		}
	}
	if s.Users != nil {
		doc.Linux.Namespaces = append(doc.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		doc.Linux.UIDMappings, doc.Linux.GIDMappings = s.Users.Users, s.Users.Groups
	}
	// A name can only be set in a namespace of the container's own.
	if s.UTS.Host || s.UTS.Path != "" {
		doc.Hostname, doc.Domainname = "", ""
	}
	return nil
}
