package plan

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	"github.com/moby/sys/signal"

	"github.com/cove-containers/cove/spec"
	"github.com/cove-containers/cove/sys"
)

// Host is what validation must know of the machine and the engine.
type Host struct {
	CPUs int
	// Cpus and Mems are the sets a cpuset may draw from, "" when unknown.
	Cpus, Mems string
	// Runtimes are the names --runtime accepts.
	Runtimes []string
	// Remapped tells that containers have user namespaces of their own, unless they ask for the host's.
	Remapped bool
	// Systemd tells that cgroups are slices.
	Systemd bool
	// Realtime tells that groups can be given real-time CPU.
	Realtime bool
}

// Validate checks merged settings and completed host settings with Docker's words. Warnings are for the user;
// an error is errdefs.ErrInvalidArgument.
func Validate(c *ct.Config, h *ct.HostConfig, host Host) (warnings []string, err error) {
	for _, check := range []func(*ct.Config, *ct.HostConfig) error{
		validateConfig, validateModes, validateNetworkMode, validateSecurity, validateUlimits, validateSysctls, validateHosts,
	} {
		if err := check(c, h); err != nil {
			return nil, err
		}
	}
	if host.Remapped && !h.UsernsMode.IsHost() {
		if err := spec.ValidateUsers(h); err != nil {
			return nil, err
		}
	}
	if h.Runtime != "" && !slices.Contains(host.Runtimes, h.Runtime) {
		return nil, invalid("unknown or invalid runtime name: %s", h.Runtime)
	}
	warnings, err = ValidateResources(&h.Resources, host, false)
	if err != nil {
		return nil, err
	}
	if h.NetworkMode.IsHost() && len(h.PortBindings) > 0 {
		warnings = append(warnings, "Published ports are discarded when using host network mode")
	}
	return warnings, nil
}

func validateConfig(c *ct.Config, h *ct.HostConfig) error {
	if c.WorkingDir != "" && !path.IsAbs(c.WorkingDir) {
		return invalid("the working directory '%s' is invalid, it needs to be an absolute path", c.WorkingDir)
	}
	if len(c.Hostname) > 64 {
		return invalid("invalid hostname format: %s", c.Hostname)
	}
	for _, e := range c.Env {
		if e == "" || e[0] == '=' {
			return invalid("invalid environment variable: %s", e)
		}
	}
	if c.StopSignal != "" {
		if _, err := signal.ParseSignal(c.StopSignal); err != nil {
			return invalid("%s", err.Error())
		}
	}
	if err := validateHealth(c.Healthcheck); err != nil {
		return err
	}
	if _, _, ok := Command(c); !ok {
		return invalid("no command specified")
	}
	for port, bindings := range h.PortBindings {
		for _, b := range bindings {
			if !validHostPort(b.HostPort) {
				return invalid("invalid port specification: %q", b.HostPort)
			}
		}
		if !port.IsValid() {
			return invalid("invalid port specification: %q", port.String())
		}
	}
	return nil
}

// validHostPort accepts nothing, a port, or a range of ports.
func validHostPort(text string) bool {
	if text == "" {
		return true
	}
	first, last, ranged := strings.Cut(text, "-")
	a, errA := strconv.ParseUint(first, 10, 16)
	if !ranged {
		return errA == nil
	}
	b, errB := strconv.ParseUint(last, 10, 16)
	return errA == nil && errB == nil && a <= b
}

func validateHealth(hc *ct.HealthConfig) error {
	if hc == nil {
		return nil
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"Interval", hc.Interval}, {"Timeout", hc.Timeout}, {"StartPeriod", hc.StartPeriod}, {"StartInterval", hc.StartInterval},
	} {
		if d.value != 0 && d.value < ct.MinimumDuration {
			return invalid("%s in Healthcheck cannot be less than %s", d.name, ct.MinimumDuration)
		}
	}
	if hc.Retries < 0 {
		return invalid("Retries in Healthcheck cannot be negative")
	}
	return nil
}

func validateModes(_ *ct.Config, h *ct.HostConfig) error {
	if h.AutoRemove && !h.RestartPolicy.IsNone() {
		return invalid("can't create 'AutoRemove' container with restart policy")
	}
	if err := ct.ValidateRestartPolicy(h.RestartPolicy); err != nil {
		return invalid("%s", err.Error())
	}
	switch {
	case !h.Isolation.IsDefault():
		return invalid("invalid isolation '%s' on linux", h.Isolation)
	case !h.IpcMode.Valid():
		return invalid("invalid IPC mode: %v", h.IpcMode)
	case !h.PidMode.Valid():
		return invalid("invalid PID mode: %v", h.PidMode)
	case !h.UTSMode.Valid() && !strings.HasPrefix(string(h.UTSMode), "container:"):
		return invalid("invalid UTS mode: %v", h.UTSMode)
	case !h.CgroupnsMode.Valid():
		return invalid("invalid cgroup namespace mode: %v", h.CgroupnsMode)
	case h.ShmSize < 0:
		return invalid("SHM size can not be less than 0")
	case h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000:
		return invalid("Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	}
	if _, empty := h.Annotations[""]; empty {
		return invalid("invalid Annotations: the empty string is not permitted as an annotation key")
	}
	return nil
}

// validateNetworkMode refuses what a shared network cannot have.
func validateNetworkMode(c *ct.Config, h *ct.HostConfig) error {
	mode := h.NetworkMode
	switch {
	case (mode.IsContainer() || h.UTSMode.IsHost()) && c.Hostname != "":
		if mode.IsContainer() {
			return invalid("conflicting options: hostname and the network mode")
		}
		return invalid("conflicting options: hostname and the UTS mode")
	case mode.IsHost() && len(h.Links) > 0:
		return invalid("conflicting options: host type networking can't be used with links. This would result in undefined behavior")
	case !mode.IsContainer():
		return nil
	case mode.ConnectedContainer() == "":
		return invalid("invalid container format container:<name|id>")
	case len(h.Links) > 0:
		return invalid("conflicting options: container type network can't be used with links. This would result in undefined behavior")
	case len(h.DNS) > 0:
		return invalid("conflicting options: dns and the network mode")
	case len(h.ExtraHosts) > 0:
		return invalid("conflicting options: custom host-to-IP mapping and the network mode")
	case len(h.PortBindings) > 0 || h.PublishAllPorts:
		return invalid("conflicting options: port publishing and the container type network mode")
	case len(c.ExposedPorts) > 0:
		return invalid("conflicting options: port exposing and the container type network mode")
	}
	return nil
}

func validateSecurity(_ *ct.Config, h *ct.HostConfig) error {
	if _, err := spec.Capabilities(h.CapAdd, h.CapDrop, false); err != nil {
		return err
	}
	opts, err := spec.ParseSecurity(h.SecurityOpt)
	if err == nil && opts.WritableCgroups != nil && *opts.WritableCgroups && h.CgroupnsMode.IsHost() && !h.Privileged {
		return invalid("conflicting options: writable cgroups and the host's cgroup namespace")
	}
	if err == nil && opts.AppArmor != "" && opts.AppArmor != spec.Unconfined && !sys.AppArmor() { // nobody would enforce it
		return invalid("AppArmor profile %q: AppArmor is not enabled on this host", opts.AppArmor)
	}
	return err
}

// ulimitNames are the limits the kernel knows, as setrlimit(2) names them.
var ulimitNames = []string{
	"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
	"rttime", "sigpending", "stack", "as",
}

func validateUlimits(_ *ct.Config, h *ct.HostConfig) error {
	for _, u := range h.Ulimits {
		if !slices.Contains(ulimitNames, u.Name) {
			return invalid("invalid ulimit type: %s", u.Name)
		}
		if u.Hard != -1 && (u.Soft > u.Hard || u.Soft == -1) {
			return invalid("ulimit soft limit must be less than or equal to hard limit: %d > %d", u.Soft, u.Hard)
		}
	}
	return nil
}

// namespacedSysctls are what a container has for itself, besides net.* and fs.mqueue.*.
var namespacedSysctls = []string{
	"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
	"kernel.shm_rmid_forced", "kernel.domainname", "kernel.hostname",
}

func validateSysctls(_ *ct.Config, h *ct.HostConfig) error {
	for name := range h.Sysctls {
		switch {
		case strings.HasPrefix(name, "net."):
			if h.NetworkMode.IsHost() {
				return invalid("sysctl \"%s\" not allowed in host network namespace", name)
			}
		case slices.Contains(namespacedSysctls, name) || strings.HasPrefix(name, "fs.mqueue."):
			if h.IpcMode.IsHost() && !strings.HasSuffix(name, "name") {
				return invalid("sysctl \"%s\" is not allowed in the hosts ipc namespace", name)
			}
		default:
			return invalid("sysctl \"%s\" is not in a separate kernel namespace", name)
		}
	}
	return nil
}

func validateHosts(_ *ct.Config, h *ct.HostConfig) error {
	for _, extra := range h.ExtraHosts {
		name, address, ok := strings.Cut(extra, ":")
		if !ok || name == "" || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '#' || r == '=' }) {
			return invalid("bad format for add-host: %q", extra)
		}
		address = strings.Trim(address, "[]")
		if _, err := netip.ParseAddr(address); err != nil && address != "host-gateway" {
			return invalid("invalid IP address in add-host: %q", address)
		}
	}
	for _, a := range h.DNS {
		if !a.IsValid() {
			return invalid("invalid IP address: %s", a)
		}
	}
	return nil
}

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}
