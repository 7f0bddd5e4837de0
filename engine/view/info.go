package view

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	ct "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"
	st "github.com/moby/moby/api/types/system"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/release"
)

// Info tells about the engine and the machine it runs on.
func (v *View) Info(ctx context.Context) (st.Info, error) {
	images, err := v.parts.Images.List(ctx, image.ListOptions{All: true})
	if err != nil {
		return st.Info{}, err
	}
	cfg := v.parts.Settings()
	h := readHost()
	id, name := v.Self()
	i := st.Info{
		ID: id, Images: len(images), Driver: api.StorageDriver,
		DriverStatus: [][2]string{
			{"driver-type", "io.containerd.snapshotter.v1"}, // how clients know a store of images that keeps indexes and takes OCI archives
			{"Backing Filesystem", fileSystemOf(cfg.Root)}, {"Mounted", "in the container's mount namespace"},
		},
		Plugins: st.PluginsInfo{
			Volume: []string{"local"}, Network: []string{"bridge", "host", "null"}, Log: []string{"fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"},
		},
		MemoryLimit: h.memoryLimit, SwapLimit: h.swapLimit, CPUCfsPeriod: h.cpuQuota, CPUCfsQuota: h.cpuQuota,
		CPUShares: h.cpuShares, CPUSet: h.cpuset, PidsLimit: h.pids, OomKillDisable: h.oomKillDisable,
		IPv4Forwarding: oneLine("/proc/sys/net/ipv4/ip_forward") == "1",
		Debug:          cfg.Debug, NFd: countEntries("/proc/self/fd"), NGoroutines: goruntime.NumGoroutine(),
		SystemTime: time.Now().Format(time.RFC3339Nano), LoggingDriver: cfg.LogDriver,
		CgroupDriver: cgroupDriver(cfg.CgroupParent), CgroupVersion: h.cgroupVersion,
		NEventsListener: v.parts.Bus.count(),
		KernelVersion:   oneLine("/proc/sys/kernel/osrelease"), OperatingSystem: h.system, OSVersion: h.systemVersion,
		OSType: goruntime.GOOS, Architecture: architecture(), NCPU: goruntime.NumCPU(), MemTotal: h.memory,
		IndexServerAddress: "https://index.docker.io/v1/", RegistryConfig: v.registries(),
		DockerRootDir: cfg.Root, Name: name, Labels: cfg.Labels, ServerVersion: api.DockerRelease,
		HTTPProxy: proxy("HTTP_PROXY"), HTTPSProxy: proxy("HTTPS_PROXY"), NoProxy: proxy("NO_PROXY"),
		Runtimes: map[string]st.RuntimeWithStatus{}, DefaultRuntime: cfg.DefaultRuntime,
		Swarm:              swarm.Info{LocalNodeState: swarm.LocalNodeStateInactive},
		ExperimentalBuild:  v.experimental(),
		LiveRestoreEnabled: true, InitBinary: "cove-runtime",
		RuncCommit:      st.Commit{ID: release.Commit},
		SecurityOptions: v.securityOptions(), FirewallBackend: &st.FirewallInfo{Driver: "nftables"},
		CDISpecDirs: []string{}, Warnings: append(h.warnings(), v.parts.Networks.Warnings()...),
	}
	if d := v.parts.Devices; d != nil {
		i.CDISpecDirs = d.Dirs()
		for _, name := range d.List() {
			i.DiscoveredDevices = append(i.DiscoveredDevices, st.DeviceInfo{Source: "cdi", ID: name})
		}
	}
	if i.LoggingDriver == "" {
		i.LoggingDriver = "json-file"
	}
	if i.Labels == nil {
		i.Labels = []string{}
	}
	for name, path := range cfg.Runtimes {
		if path == "" {
			path = "cove-runtime"
		}
		i.Runtimes[name] = st.RuntimeWithStatus{Runtime: st.Runtime{Path: path}}
	}
	v.count(&i)
	return i, nil
}

func (v *View) count(i *st.Info) {
	for _, c := range v.parts.Containers.List() {
		i.Containers++
		switch c.State.Status {
		case ct.StateRunning:
			i.ContainersRunning++
		case ct.StatePaused:
			i.ContainersPaused++
		default:
			i.ContainersStopped++
		}
	}
}

// Self is the engine's ID and what it is called.
func (v *View) Self() (id, name string) {
	if name = v.parts.Settings().Name; name == "" {
		name, _ = os.Hostname()
	}
	return v.id(), name
}

// id is the same at every start on this data root of this machine, and no other's.
func (v *View) id() string {
	machine := oneLine("/etc/machine-id")
	if machine == "" {
		machine, _ = os.Hostname()
	}
	s := sha256.Sum256([]byte(machine + "\x00" + v.parts.Settings().Root))
	return fmt.Sprintf("%x-%x-%x-%x-%x", s[:4], s[4:6], s[6:8], s[8:10], s[10:16])
}

func (v *View) securityOptions() []string {
	options := []string{"name=seccomp,profile=builtin", "name=cgroupns"}
	if v.parts.Settings().SeccompProfile {
		options[0] = "name=seccomp,profile=custom"
	}
	if v.parts.Settings().AppArmor {
		options = append([]string{"name=apparmor"}, options...)
	}
	if v.parts.Settings().Remapped {
		options = append(options, "name=userns")
	}
	if v.parts.Settings().NoNewPrivileges {
		options = append(options, "name=no-new-privileges")
	}
	return options
}

// registries shows which registries are trusted without TLS: those of this host always.
func (v *View) registries() *registry.ServiceConfig {
	cfg := v.parts.Settings()
	s := &registry.ServiceConfig{
		InsecureRegistryCIDRs: []netip.Prefix{netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.0/8")},
		Mirrors:               slices.Clone(cfg.Mirrors),
		IndexConfigs: map[string]*registry.IndexInfo{
			"docker.io": {Name: "docker.io", Mirrors: slices.Clone(cfg.Mirrors), Secure: true, Official: true},
		},
	}
	if s.Mirrors == nil {
		s.Mirrors, s.IndexConfigs["docker.io"].Mirrors = []string{}, []string{}
	}
	for _, r := range cfg.InsecureRegistries {
		if p, err := netip.ParsePrefix(r); err == nil {
			s.InsecureRegistryCIDRs = append(s.InsecureRegistryCIDRs, p)
			continue
		}
		s.IndexConfigs[r] = &registry.IndexInfo{Name: r, Mirrors: []string{}}
	}
	return s
}

func cgroupDriver(parent string) string {
	if strings.HasSuffix(parent, ".slice") {
		return "systemd"
	}
	return "cgroupfs"
}

// architecture is the machine's in the words of uname.
func architecture() string {
	switch goruntime.GOARCH {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return goruntime.GOARCH
}

// proxy is a proxy setting of the daemon's, without a password that may be in it.
func proxy(name string) string {
	value := os.Getenv(name)
	if value == "" {
		value = os.Getenv(strings.ToLower(name))
	}
	scheme, rest, ok := strings.Cut(value, "://")
	if at := strings.LastIndex(rest, "@"); ok && at >= 0 {
		return scheme + "://xxxxx:xxxxx@" + rest[at+1:]
	}
	return value
}

// Version tells the versions of everything. Cove's own is that of the components.
func (v *View) Version(ctx context.Context) (st.VersionResponse, error) {
	kernel := oneLine("/proc/sys/kernel/osrelease")
	details := map[string]string{
		"ApiVersion": api.Version, "MinAPIVersion": api.MinVersion, "Arch": goruntime.GOARCH, "Os": goruntime.GOOS,
		"GitCommit": release.Commit, "GoVersion": goruntime.Version(), "KernelVersion": kernel, "Experimental": strconv.FormatBool(v.experimental()),
		"BuildTime": buildTime(),
	}
	return st.VersionResponse{
		Platform: st.PlatformInfo{Name: "Cove"}, Version: api.DockerRelease, APIVersion: api.Version, MinAPIVersion: api.MinVersion,
		Os: goruntime.GOOS, Arch: goruntime.GOARCH, GitCommit: release.Commit, GoVersion: goruntime.Version(), KernelVersion: kernel, BuildTime: buildTime(), Experimental: v.experimental(),
		Components: []st.ComponentVersion{
			{Name: "Engine", Version: release.Version, Details: details},
			{Name: "cove-runtime", Version: release.Version, Details: map[string]string{"GitCommit": release.Commit}},
		},
	}, nil
}

// experimental tells whether clients may ask for what a dockerd has in experimental mode only: checkpoints.
func (v *View) experimental() bool {
	return v.parts.Settings().Experimental || container.Checkpoints{}.HasCriu()
}

// buildTime is when this program was written to disk.
func buildTime() string {
	program, err := os.Executable()
	if err != nil {
		return ""
	}
	info, err := os.Stat(program)
	if err != nil {
		return ""
	}
	return info.ModTime().UTC().Format("2006-01-02T15:04:05.000000000+00:00")
}
