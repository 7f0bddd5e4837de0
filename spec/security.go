package spec

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// security applies --security-opt: no-new-privileges, seccomp and AppArmor; what this engine cannot give is refused.
func security(s Settings, doc *specs.Spec) error {
	opts, err := ParseSecurity(s.HostConfig.SecurityOpt)
	if err != nil {
		return err
	}
	doc.Process.NoNewPrivileges = s.NoNewPrivileges
	if opts.NoNewPrivileges != nil {
		doc.Process.NoNewPrivileges = *opts.NoNewPrivileges
	}
	if doc.Process.ApparmorProfile, err = confinement(s, opts); err != nil {
		return err
	}
	doc.Linux.Seccomp, err = filter(s, opts, doc)
	return err
}

// Unconfined is what a process has that no filter, or no profile, holds back.
const Unconfined = "unconfined"

// confinement is the AppArmor profile that the container's processes take on.
func confinement(s Settings, opts Security) (string, error) {
	if s.AppArmor == nil {
		return opts.AppArmor, nil
	}
	if own := opts.Confinement(s.HostConfig.Privileged); own != "" {
		return own, nil
	}
	return s.AppArmor()
}

// Security is what --security-opt says.
type Security struct {
	// NoNewPrivileges is nil where the option was not given.
	NoNewPrivileges *bool
	// WritableCgroups is nil where the option was not given: then a privileged container alone may write to its groups.
	WritableCgroups *bool
	// Seccomp is "" (the engine's default), "builtin", "unconfined", or a profile as JSON.
	Seccomp string
	// AppArmor is "" (the engine's default), "unconfined", or the name of a profile, which the kernel may know or not.
	AppArmor string
}

// Confinement is the AppArmor profile of a container on a host that has AppArmor; "" is the engine's default.
func (s Security) Confinement(privileged bool) string {
	if s.AppArmor == "" && privileged {
		return Unconfined
	}
	return s.AppArmor
}

// ParseSecurity reads the values of --security-opt. What cannot be had here is errdefs.ErrInvalidArgument: an
// SELinux label that nobody would enforce is not silently accepted.
func ParseSecurity(options []string) (Security, error) {
	var out Security
	for _, o := range options {
		key, value, hasValue := strings.Cut(o, "=")
		if !hasValue {
			// The separator was a colon before Docker 1.11.
			key, value, hasValue = strings.Cut(o, ":")
		}
		switch {
		case key == "no-new-privileges":
			yes := !hasValue || value == "true"
			if hasValue && value != "true" && value != "false" {
				return out, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid --security-opt 2: %q", o))
			}
			out.NoNewPrivileges = &yes
		case !hasValue:
			return out, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid --security-opt 1: %q", o))
		case key == "seccomp":
			out.Seccomp = value
		case key == "apparmor":
			out.AppArmor = value
		case key == "label" && value == "disable":
		case key == "label":
			return out, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("label %q: SELinux is not enabled on this host", value))
		case key == "writable-cgroups":
			yes, err := strconv.ParseBool(value)
			if err != nil {
				return out, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid --security-opt 2: %q", o))
			}
			out.WritableCgroups = &yes
		case key == "systempaths" && value == "unconfined":
		default:
			return out, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid --security-opt 2: %q", o))
		}
	}
	return out, nil
}

func filter(s Settings, opts Security, doc *specs.Spec) (*specs.LinuxSeccomp, error) {
	profile := opts.Seccomp
	if s.HostConfig.Privileged && profile == "" {
		return nil, nil
	}
	if profile == "" {
		profile = s.SeccompProfile
	}
	var out *specs.LinuxSeccomp
	var err error
	switch profile {
	case Unconfined:
		return nil, nil
	case "", "builtin":
		out, err = seccomp.GetDefaultProfile(doc)
	default:
		out, err = seccomp.LoadProfile(profile, doc)
	}
	if err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage(err.Error())
	}
	return out, nil
}

// sysctls are the user's over two that let an unprivileged process inside bind low ports and send pings, which
// harms nobody in a network namespace of its own.
func sysctls(s Settings, doc *specs.Spec) error {
	doc.Linux.Sysctl = map[string]string{}
	if !s.Net.Host && s.Net.Path == "" {
		doc.Linux.Sysctl["net.ipv4.ip_unprivileged_port_start"] = "0"
		doc.Linux.Sysctl["net.ipv4.ping_group_range"] = "0 2147483647"
	}
	maps.Copy(doc.Linux.Sysctl, s.HostConfig.Sysctls)
	return nil
}
