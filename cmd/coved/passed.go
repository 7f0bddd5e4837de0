package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// passed is a flag of dockerd's for what this engine has not, or does by itself: scripts and files that name it go on
// working where it changes nothing, and hear why where it would.
type passed struct {
	// name is the flag's, kind what values it takes: "bool", "int", "string" or "list"; value is dockerd's way where that is
	// how it is here.
	name, kind, value string
	// why says what stands in its place.
	why string
	// only, where it is not nil, are the values that are taken besides value; all are where it is nil.
	only []string

	given []string
}

var nothing = []string{}

// passedFlags are all flags of dockerd's that have no effect.
func passedFlags() []*passed {
	return []*passed{
		{name: "userland-proxy", kind: "bool", value: "false", why: "there is no proxy process"},
		{name: "userland-proxy-path", kind: "string", why: "there is no proxy process"},
		{name: "ip-forward-no-drop", kind: "bool", value: "false", why: "the policy of the host's own rules is never changed"},
		{name: "live-restore", kind: "bool", value: "true", why: "containers go on while the daemon is down, always"},
		{name: "shutdown-timeout", kind: "int", value: "15", why: "containers go on when the daemon ends"},
		{name: "init-path", kind: "string", why: "the init process is a part of cove-runtime"},
		{name: "raw-logs", kind: "bool", value: "false", why: "the daemon's log is never coloured"},
		{name: "containerd", kind: "string", why: "there is no containerd"},
		{name: "containerd-namespace", kind: "string", value: "moby", why: "there is no containerd"},
		{name: "containerd-plugins-namespace", kind: "string", value: "plugins.moby", why: "there is no containerd"},
		{name: "network-control-plane-mtu", kind: "int", value: "1500", why: "there are no clusters"},
		{name: "swarm-default-advertise-addr", kind: "string", why: "there are no clusters"},
		{name: "node-generic-resource", kind: "list", why: "there are no clusters"},
		{name: "allow-nondistributable-artifacts", kind: "list", why: "layers that only their own addresses have are not pushed"},
		{name: "feature", kind: "list", why: "BuildKit's API, CDI and images of several platforms are always there"},
		{name: "firewall-backend", kind: "string", why: "the firewall is one table of nftables", only: []string{"nftables"}},
		{name: "iptables", kind: "bool", value: "true", why: "without a firewall networks would be open to one another, and no port published", only: nothing},
		{name: "ip6tables", kind: "bool", value: "true", why: "without a firewall networks with IPv6 would be open to everybody", only: nothing},
		{name: "authorization-plugin", kind: "list", why: "there are no plugins, and nobody would be asked", only: nothing},
		{name: "selinux-enabled", kind: "bool", value: "false", why: "containers get no SELinux labels", only: nothing},
		{name: "rootless", kind: "bool", value: "false", why: "the daemon runs as root; --userns-remap takes root away from containers", only: nothing},
		{name: "cri-containerd", kind: "bool", value: "false", why: "there is no containerd", only: nothing},
		{name: "cpu-rt-period", kind: "int", value: "0", why: "there is no such limit for all containers together", only: nothing},
		{name: "cpu-rt-runtime", kind: "int", value: "0", why: "there is no such limit for all containers together", only: nothing},
		{name: "network-diagnostic-port", kind: "int", value: "0", why: "there is no such server", only: nothing},
		{name: "nri-opts", kind: "list", why: "there is no Node Resource Interface", only: []string{"enable=false"}},
		{name: "api-cors-header", kind: "string", why: "use a reverse proxy if you need CORS headers", only: nothing},
	}
}

// addPassed adds these flags.
func (s *settings) addPassed(f *pflag.FlagSet) {
	s.passed = passedFlags()
	for _, p := range s.passed {
		what := "Accepted for compatibility: "
		if p.only != nil {
			what = "Not supported: "
		}
		flag := f.VarPF(p, p.name, "", what+p.why)
		if p.kind == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
}

// checkPassed refuses what would have to have an effect.
func (s *settings) checkPassed() error {
	for _, p := range s.passed {
		for _, text := range p.given {
			if p.only != nil && text != p.value && !slices.Contains(p.only, text) {
				return fmt.Errorf("--%s=%s is not supported: %s", p.name, text, p.why)
			}
		}
	}
	return nil
}

// Set notes a value, as far as it can be one.
func (p *passed) Set(text string) (err error) {
	switch p.kind {
	case "bool":
		var is bool
		is, err = strconv.ParseBool(text)
		text = strconv.FormatBool(is)
	case "int":
		_, err = strconv.Atoi(text)
	case "list":
		p.given = append(p.given, text)
		return nil
	}
	p.given = []string{text}
	return err
}

// String is the value, or the values as pflag writes lists.
func (p *passed) String() string {
	switch {
	case p.kind == "list" && len(p.given) > 0:
		return "[" + strings.Join(p.given, ",") + "]"
	case len(p.given) > 0:
		return p.given[0]
	}
	return p.value
}

// Type is the kind of value, for the help.
func (p *passed) Type() string { return p.kind }
