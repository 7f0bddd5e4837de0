package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/go-units"
	ct "github.com/moby/moby/api/types/container"
	"github.com/spf13/pflag"

	"github.com/cove-containers/cove/engine"
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
	bridge, bip, fixedCIDR       string
	gateway, gateway6            string
	ipv6                         bool
	bip6, fixedCIDR6             string
	icc, masquerade, forward     bool
	direct                       bool
	acceptMark, ip               string
	hostGateways                 []string
	mtu                          int
	pools, networkOptions        []string
	dns, dnsSearch, dnsOptions   []string
	publishAllow                 []string
	insecure, mirrors, certsDirs []string
	downloads, uploads, attempts int
	httpProxy, httpsProxy        string
	noProxy                      string
	runtimes                     []string
	defaultRuntime               string
	logDriver                    string
	logOptions                   []string
	ulimits                      []string
	shmSize                      string
	initProcess, noNewPrivileges bool
	seccompProfile               string
	cgroupParent                 string
	cgroupnsMode, ipcMode        string
	execOptions, labels          []string
	experimental                 bool
	metricsAddr                  string
	oomScore                     int
	storageDriver                string
	storageOptions               []string
	usernsRemap                  string
	cdiDirs                      []string
	builder                      builderSettings
	registry                     registrySettings // the daemon serves one when it has addresses to listen on

	level  *slog.LevelVar
	flags  *pflag.FlagSet
	passed []*passed
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
	switch s.storageDriver {
	case "", "overlay2", "overlayfs", "overlay":
	default:
		return fmt.Errorf("storage driver %q is not supported: only overlay2 is", s.storageDriver)
	}
	for _, step := range []func() error{
		s.checkPassed,
		s.checkNumbers,
		s.checkModes,
		func() error { return checkLabels(s.labels) },
		func() error { _, err := s.poolList(); return err },
		func() error { _, err := s.networkDefaults(); return err },
		func() error { _, err := s.ulimitList(); return err },
		func() error { _, err := s.layerSize(); return err },
		func() error { _, err := s.shmBytes(); return err },
		s.checkDefaultNetwork,
		func() error { _, err := addresses(s.dns); return err },
		func() error { _, err := network.ParseRanges(strings.Join(s.publishAllow, ",")); return err },
		func() error { _, err := addresses(oneOf(s.ip)); return err },
		func() error { _, err := hostGateways(s.hostGateways); return err },
		s.checkRuntimes,
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
		key, value, ok := strings.Cut(o, "=")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		switch {
		case !ok || key == "" || value == "":
			return "", fmt.Errorf("invalid exec-opt (%s): must be formatted 'opt=value'", o)
		case key == "isolation":
			return "", fmt.Errorf("invalid exec-opt (%s): option '%s' is only supported on windows", o, key)
		case key != "native.cgroupdriver":
			return "", fmt.Errorf("invalid exec-opt (%s): unknown option: '%s'", o, key)
		case value != "systemd" && value != "cgroupfs":
			return "", fmt.Errorf("invalid exec-opt (%s): there is no cgroup driver %q", o, value)
		}
		systemd = value == "systemd"
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

// shmBytes is the default size of /dev/shm.
func (s *settings) shmBytes() (int64, error) { return units.RAMInBytes(s.shmSize) }

// checkRuntimes refuses a default runtime that there is not, too.
func (s *settings) checkRuntimes() error {
	all, err := s.runtimePaths()
	if _, known := all[s.defaultRuntime]; err == nil && !known && s.defaultRuntime != "" && s.defaultRuntime != engine.OwnRuntime {
		err = fmt.Errorf("specified default runtime '%s' does not exist", s.defaultRuntime)
	}
	return err
}

// layerSize is what the files of a container may take that is made without a size of its own, in bytes; 0 is any.
func (s *settings) layerSize() (size int64, err error) {
	for _, option := range s.storageOptions {
		key, value, ok := strings.Cut(option, "=")
		switch key = strings.ToLower(strings.TrimSpace(key)); {
		case !ok:
			return 0, fmt.Errorf("unable to parse storage-opt key/value: %s", option)
		case key == "overlay2.size":
			if size, err = units.RAMInBytes(strings.TrimSpace(value)); err != nil {
				return 0, err
			}
		case key != "overlay2.override_kernel_check":
			return 0, fmt.Errorf("overlay2: unknown option %s", key)
		}
	}
	return size, nil
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

// checkNumbers refuses numbers that none of these can be, in dockerd's words.
func (s *settings) checkNumbers() error {
	for _, of := range []struct {
		what  string
		value int
	}{
		{"default MTU", s.mtu}, {"max concurrent downloads", s.downloads}, {"max concurrent uploads", s.uploads},
		{"max download attempts", s.attempts},
	} {
		if of.value < 0 {
			return fmt.Errorf("invalid %s: %d", of.what, of.value)
		}
	}
	if s.oomScore < -1000 || s.oomScore > 1000 {
		return fmt.Errorf("invalid oom-score-adjust: %d: it must be between -1000 and 1000", s.oomScore)
	}
	return nil
}

// checkModes refuses modes that containers cannot have by default, in dockerd's words.
func (s *settings) checkModes() error {
	ipc, group := ct.IpcMode(s.ipcMode), ct.CgroupnsMode(s.cgroupnsMode)
	switch {
	case !ipc.Valid():
		return fmt.Errorf(`default IPC mode setting (%v) is invalid; use "shareable" or "private"`, ipc)
	case !ipc.IsEmpty() && !ipc.IsPrivate() && !ipc.IsShareable():
		return fmt.Errorf(`IPC mode "%v" is not supported as default value; use "shareable" or "private"`, ipc)
	case !group.Valid():
		return fmt.Errorf(`invalid default cgroup namespace (%v): use "host" or "private"`, group)
	}
	return nil
}

// checkLabels refuses labels of the daemon that contradict one another, in dockerd's words.
func checkLabels(list []string) error {
	known := map[string]string{}
	for _, label := range list {
		name, value, ok := strings.Cut(label, "=")
		if !ok {
			return fmt.Errorf("bad attribute format: %s", label)
		}
		if other, twice := known[name]; twice && other != value {
			return fmt.Errorf("conflict labels for %s=%s and %s=%s", name, value, name, other)
		}
		known[name] = value
	}
	return nil
}
