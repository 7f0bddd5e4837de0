package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"

	"github.com/cove-containers/cove/logs"
	"github.com/cove-containers/cove/network"
	"github.com/cove-containers/cove/remote"
)

// defaultRoot is the data root of the instance whose names on the host carry no mark.
const defaultRoot = "/var/lib/cove"

// settings are the daemon's flags and the keys of its file.
type settings struct {
	configFile        string
	validate, version bool

	hosts                        []string
	group                        string
	dataRoot, execRoot, pidfile  string
	debug                        bool
	logLevel, logFormat          string
	tls, tlsVerify               bool
	tlsCA, tlsCert, tlsKey       string
	bridge, bip, ip, hostGateway string
	ipv6, ip6tables              bool
	bip6, fixedCIDR6             string
	mtu                          int
	pools, networkOptions        []string
	dns, dnsSearch, dnsOptions   []string
	publishAllow                 []string
	insecure, mirrors, certsDirs []string
	downloads, uploads           int
	runtimes                     []string
	defaultRuntime               string
	logDriver                    string
	logOptions                   []string
	ulimits                      []string
	shmSize                      string
	initProcess, noNewPrivileges bool
	seccompProfile               string
	cgroupParent                 string
	execOptions, labels          []string
	liveRestore, userlandProxy   bool
	storageDriver                string
	usernsRemap                  string
	cdiDirs                      []string
	builder                      builderSettings
	features                     map[string]string
	registry                     registrySettings // the daemon serves one when it has addresses to listen on

	level *slog.LevelVar
	flags *pflag.FlagSet
}

// keys names the file's key of each flag where the two differ.
var keys = map[string]string{
	"host": "hosts", "insecure-registry": "insecure-registries", "registry-mirror": "registry-mirrors", "log-opt": "log-opts",
	"dns-opt": "dns-opts", "default-address-pool": "default-address-pools", "default-network-opt": "default-network-opts", "exec-opt": "exec-opts", "label": "labels",
	"default-ulimit": "default-ulimits", "add-runtime": "runtimes", "cdi-spec-dir": "cdi-spec-dirs",
}

// notInFile are flags that mean nothing in the file they lead to.
var notInFile = map[string]bool{"config-file": true, "validate": true, "version": true, "help": true}

func newSettings() *settings {
	s := &settings{level: new(slog.LevelVar)}
	f := pflag.NewFlagSet("coved", pflag.ContinueOnError)
	f.SortFlags = true
	s.flags = f
	f.StringVar(&s.configFile, "config-file", "/etc/cove/daemon.json", "Daemon configuration file")
	f.BoolVar(&s.validate, "validate", false, "Validate daemon configuration and exit")
	f.BoolVarP(&s.version, "version", "v", false, "Print version information and quit")
	f.StringArrayVarP(&s.hosts, "host", "H", nil, "Daemon socket(s) to connect to")
	f.StringVarP(&s.group, "group", "G", "", "Group for the unix socket")
	f.StringVar(&s.dataRoot, "data-root", defaultRoot, "Root directory of persistent state")
	f.StringVar(&s.execRoot, "exec-root", "/run/cove", "Root directory for execution state files")
	f.StringVarP(&s.pidfile, "pidfile", "p", "", "Path to use for daemon PID file (default \"<exec-root>/coved.pid\")")
	f.BoolVarP(&s.debug, "debug", "D", false, "Enable debug mode")
	f.StringVarP(&s.logLevel, "log-level", "l", "info", "Set the logging level (debug, info, warn, error, fatal)")
	f.StringVar(&s.logFormat, "log-format", "text", "Set the logging format (text, json)")
	f.BoolVar(&s.tls, "tls", false, "Use TLS; implied by --tlsverify")
	f.BoolVar(&s.tlsVerify, "tlsverify", false, "Use TLS and verify the remote")
	f.StringVar(&s.tlsCA, "tlscacert", "/etc/cove/ca.pem", "Trust certs signed only by this CA")
	f.StringVar(&s.tlsCert, "tlscert", "/etc/cove/cert.pem", "Path to TLS certificate file")
	f.StringVar(&s.tlsKey, "tlskey", "/etc/cove/key.pem", "Path to TLS key file")
	f.StringVarP(&s.bridge, "bridge", "b", "", "Name of the default bridge; \"none\" disables container networking")
	f.StringVar(&s.bip, "bip", "", "IPv4 address and prefix for the default bridge")
	f.BoolVar(&s.ipv6, "ipv6", false, "Enable IPv6 networking for the default bridge network")
	f.StringVar(&s.bip6, "bip6", "", "IPv6 address and prefix for the default bridge")
	f.StringVar(&s.fixedCIDR6, "fixed-cidr-v6", "", "IPv6 subnet for the default bridge network")
	f.BoolVar(&s.ip6tables, "ip6tables", true, "Accepted for compatibility: networks with IPv6 always have their firewall")
	f.StringVar(&s.ip, "ip", "", "Host IP for port publishing from the default bridge network")
	f.StringSliceVar(&s.publishAllow, "publish-allow", nil, "Addresses and ranges from which published ports can be reached (default: from everywhere)")
	f.StringVar(&s.hostGateway, "host-gateway-ip", "", "IP address that the special 'host-gateway' string in --add-host resolves to")
	f.IntVar(&s.mtu, "mtu", 0, "Set the MTU for the default network (default: the host's)")
	f.StringArrayVar(&s.pools, "default-address-pool", nil, "Default address pools for networks (base=CIDR,size=BITS)")
	f.StringArrayVar(&s.networkOptions, "default-network-opt", nil, "Default options of networks that are made (driver=option=value)")
	f.StringSliceVar(&s.dns, "dns", nil, "DNS server to use")
	f.StringSliceVar(&s.dnsSearch, "dns-search", nil, "DNS search domains to use")
	f.StringSliceVar(&s.dnsOptions, "dns-opt", nil, "DNS options to use")
	f.StringArrayVar(&s.insecure, "insecure-registry", nil, "Enable insecure registry communication")
	f.StringArrayVar(&s.mirrors, "registry-mirror", nil, "Preferred registry mirror")
	f.StringArrayVar(&s.certsDirs, "certs-dir", []string{"/etc/cove/certs.d", "/etc/docker/certs.d"}, "Folders with a folder of certificates for each registry")
	f.IntVar(&s.downloads, "max-concurrent-downloads", 0, "Blobs downloaded at once, over all pulls (default 4)")
	f.IntVar(&s.uploads, "max-concurrent-uploads", 0, "Blobs uploaded at once, over all pushes (default 8)")
	f.StringArrayVar(&s.runtimes, "add-runtime", nil, "Register an additional OCI compatible runtime (name=path)")
	f.StringVar(&s.defaultRuntime, "default-runtime", "", "Default OCI runtime for containers (default \"cove\")")
	f.StringVar(&s.logDriver, "log-driver", "json-file", "Default driver for container logs")
	f.StringArrayVar(&s.logOptions, "log-opt", nil, "Default log driver options for containers")
	f.StringArrayVar(&s.ulimits, "default-ulimit", nil, "Default ulimits for containers")
	f.StringVar(&s.shmSize, "default-shm-size", "64MiB", "Default shm size for containers")
	f.BoolVar(&s.initProcess, "init", false, "Run an init in the container to forward signals and reap processes")
	f.BoolVar(&s.noNewPrivileges, "no-new-privileges", false, "Set no-new-privileges by default for new containers")
	f.StringVar(&s.seccompProfile, "seccomp-profile", "builtin", "Path to seccomp profile. Set to \"unconfined\" to disable the default seccomp profile")
	f.StringVar(&s.cgroupParent, "cgroup-parent", "", "Set parent cgroup for all containers")
	f.StringArrayVar(&s.execOptions, "exec-opt", nil, "Runtime execution options")
	f.StringArrayVar(&s.labels, "label", nil, "Set key=value labels to the daemon")
	f.BoolVar(&s.liveRestore, "live-restore", true, "Containers go on while the daemon is down (always so)")
	f.BoolVar(&s.userlandProxy, "userland-proxy", false, "Accepted for compatibility: there is no proxy process")
	f.StringVarP(&s.storageDriver, "storage-driver", "s", "overlay2", "Storage driver to use")
	f.StringVar(&s.usernsRemap, "userns-remap", "", "User/Group setting for user namespaces")
	f.StringArrayVar(&s.cdiDirs, "cdi-spec-dir", []string{"/etc/cdi", "/var/run/cdi"}, "Folders with descriptions of devices (Container Device Interface)")
	f.StringArrayVar(&s.registry.listen, "registry-listen", nil, "Serve a registry of the daemon's own on this address, [HOST]:PORT")
	s.registry.add(f, "registry-")
	f.Var(&s.builder, "builder", "Settings of the builder, as in the configuration file")
	f.MarkHidden("builder")
	f.StringToStringVar(&s.features, "features", nil, "Accepted for compatibility: BuildKit's API and multi-platform images are always there")
	return s
}

// readSettings takes the arguments, then the file below them, and checks what they say together.
func readSettings(args []string) (*settings, error) {
	s := newSettings()
	s.flags.Usage = func() { s.usage(os.Stderr) }
	if err := s.flags.Parse(args); err != nil {
		return nil, err
	}
	if s.flags.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q", s.flags.Arg(0))
	}
	if err := s.readFile(); err != nil {
		return nil, fmt.Errorf("unable to configure the Cove daemon with file %s: %w", s.configFile, err)
	}
	return s, s.check()
}

func (s *settings) usage(w io.Writer) {
	fmt.Fprintf(w, "Usage: coved [OPTIONS]\n\nA container engine.\n\nOptions:\n%s", s.flags.FlagUsages())
}

// check completes the settings and refuses what contradicts itself.
func (s *settings) check() error {
	if s.pidfile == "" {
		s.pidfile = filepath.Join(s.execRoot, "coved.pid")
	}
	if len(s.hosts) == 0 {
		s.hosts = []string{"unix://" + filepath.Join(s.execRoot, "cove.sock")}
	}
	if s.debug {
		s.logLevel = "debug"
	}
	if err := s.setLevel(); err != nil {
		return err
	}
	if s.bridge != "" && s.bip != "" && s.bridge == "none" {
		return fmt.Errorf("--bridge none and --bip contradict each other")
	}
	if !s.ip6tables {
		return fmt.Errorf("--ip6tables=false is not supported: without a firewall, networks with IPv6 would be open to everybody")
	}
	switch s.storageDriver {
	case "", "overlay2", "overlayfs", "overlay":
	default:
		return fmt.Errorf("storage driver %q is not supported: only overlay2 is", s.storageDriver)
	}
	for _, step := range []func() error{
		func() error { _, err := s.poolList(); return err },
		func() error { _, err := s.networkDefaults(); return err },
		func() error { _, err := s.ulimitList(); return err },
		func() error { _, err := units.RAMInBytes(s.shmSize); return err },
		func() error { _, err := prefix(s.bip); return err },
		s.checkIPv6,
		func() error { _, err := addresses(s.dns); return err },
		func() error { _, err := network.ParseRanges(strings.Join(s.publishAllow, ",")); return err },
		func() error { _, err := addresses(oneOf(s.ip)); return err },
		func() error { _, err := addresses(oneOf(s.hostGateway)); return err },
		func() error { _, err := s.runtimePaths(); return err },
		s.checkLogs,
		func() error {
			_, err := remote.New(remote.Config{Insecure: s.insecure, Mirrors: s.mirrors})
			return err
		},
		func() error { _, err := s.parent(); return err },
		s.registry.check,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// checkIPv6 refuses what the default network cannot have.
func (s *settings) checkIPv6() error {
	for _, text := range []string{s.bip6, s.fixedCIDR6} {
		p, err := prefix(text)
		switch {
		case err != nil:
			return err
		case text != "" && !p.Addr().Is6():
			return fmt.Errorf("invalid IPv6 subnet %q", text)
		case text != "" && !s.ipv6:
			return fmt.Errorf("--bip6 and --fixed-cidr-v6 need --ipv6")
		}
	}
	return nil
}

// checkLogs refuses what no container could be created with.
func (s *settings) checkLogs() error {
	options, err := pairs(s.logOptions)
	if err != nil {
		return err
	}
	return logs.ValidateOptions(s.logDriver, options)
}

// mark is the short text that tells this instance's names on the host from those of others.
func (s *settings) mark() string {
	root, err := filepath.Abs(s.dataRoot)
	if err != nil || root == defaultRoot {
		return ""
	}
	sum := sha256.Sum256([]byte(root))
	return hex.EncodeToString(sum[:4])
}

// parent is the cgroup, or slice, that all containers live under.
func (s *settings) parent() (string, error) {
	systemd := false
	for _, o := range s.execOptions {
		switch o {
		case "native.cgroupdriver=systemd":
			systemd = true
		case "native.cgroupdriver=cgroupfs":
		default:
			return "", fmt.Errorf("unknown exec option %q", o)
		}
	}
	name := "cove"
	if m := s.mark(); m != "" {
		name += "-" + m
	}
	switch {
	case s.cgroupParent != "" && systemd && !strings.HasSuffix(s.cgroupParent, ".slice"):
		return "", fmt.Errorf("cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"")
	case s.cgroupParent != "":
		return s.cgroupParent, nil
	case systemd:
		return strings.ReplaceAll(name, "-", "_") + ".slice", nil
	}
	return "/" + name, nil
}

func (s *settings) runtimePaths() (map[string]string, error) {
	out, err := pairs(s.runtimes)
	if err != nil {
		return nil, err
	}
	for name, path := range out {
		if name == "cove" {
			return nil, fmt.Errorf("runtime name %q is reserved", name)
		}
		if path == "" {
			return nil, fmt.Errorf("runtime %q has no path", name)
		}
	}
	return out, nil
}

// pairs reads a list of name=value.
func pairs(list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, entry := range list {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("invalid option %q: it must be name=value", entry)
		}
		out[name] = value
	}
	return out, nil
}

// networkDefaults are the options that networks have where their users say nothing else, by driver.
func (s *settings) networkDefaults() (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for _, entry := range s.networkOptions {
		driver, option, _ := strings.Cut(entry, "=")
		name, value, ok := strings.Cut(option, "=")
		if !ok || driver == "" || name == "" {
			return nil, fmt.Errorf("invalid option %q of networks: it must be driver=option=value", entry)
		}
		if out[driver] == nil {
			out[driver] = map[string]string{}
		}
		out[driver][name] = value
	}
	return out, network.CheckDefaults(out)
}

func (s *settings) ulimitList() ([]*units.Ulimit, error) {
	var out []*units.Ulimit
	for _, text := range s.ulimits {
		u, err := units.ParseUlimit(text)
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// pool is one range that networks take their subnets from.
type pool struct {
	base netip.Prefix
	size int
}

func (s *settings) poolList() ([]pool, error) {
	var out []pool
	for _, text := range s.pools {
		var p pool
		fields, err := pairs(strings.Split(text, ","))
		if err == nil {
			p.base, err = netip.ParsePrefix(fields["base"])
		}
		if err == nil {
			p.size, err = strconv.Atoi(fields["size"])
		}
		if err != nil || p.size < p.base.Bits() || p.size > p.base.Addr().BitLen() {
			return nil, fmt.Errorf("invalid default address pool %q: it must be base=CIDR,size=BITS", text)
		}
		out = append(out, p)
	}
	return out, nil
}

// prefix reads an address with its prefix length, keeping the address.
func prefix(text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("invalid bridge address %q: %w", text, &net.ParseError{Type: "CIDR address", Text: text})
	}
	return p, nil
}

func addresses(list []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range list {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("%s is not an ip address", text)
		}
		out = append(out, a)
	}
	return out, nil
}

func oneOf(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}
