package engine

import (
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/logs"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/spec"
)

// document is a container's runtime document and what goes with it.
type document struct {
	*specs.Spec
	Mounts []spec.Mount
	Log    logs.Config
}

// document resolves everything a container refers to (volumes, namespaces of others, the daemon's defaults) and
// writes it in the words of the runtime.
func (e *Engine) document(c *container.Container) (*document, error) {
	s := e.settings(c)
	if err := e.shareNamespaces(c, &s); err != nil {
		return nil, err
	}
	var err error
	if s.Mounts, err = e.Mounts(c); err != nil {
		return nil, err
	}
	s.Users = e.usersOf(c)
	files := e.etc.Paths(c)
	s.Hosts, s.ResolvConf, s.HostnameFile = files.Hosts, files.ResolvConf, files.Hostname
	doc, err := spec.Document(s)
	if err != nil {
		return nil, err
	}
	if devices := e.parts.Devices; devices != nil {
		if err := devices.Inject(doc, c.HostConfig.DeviceRequests); err != nil {
			return nil, err
		}
	}
	log, err := e.logConfig(c)
	if err != nil {
		return nil, err
	}
	return &document{Spec: doc, Mounts: s.Mounts, Log: log}, nil
}

// settings are the container's and the daemon's, as far as they name nothing else on the host.
func (e *Engine) settings(c *container.Container) spec.Settings {
	cfg := e.config()
	return spec.Settings{
		ID: c.ID, Config: c.Config, HostConfig: c.HostConfig,
		Args:           append([]string{c.Path}, c.Args...),
		Hostname:       c.Config.Hostname,
		Domainname:     c.Config.Domainname,
		Linked:         e.etc.LinkedEnv(c),
		CgroupPath:     e.cgroupPath(c),
		CgroupV2:       runtime.UnifiedCgroups(),
		Ulimits:        cfg.Ulimits,
		SeccompProfile: cfg.SeccompProfile, NoNewPrivileges: cfg.NoNewPrivileges, AppArmor: cfg.AppArmor,
		DefaultShmSize: cfg.ShmSize,
	}
}

// shareNamespaces resolves --pid, --ipc, --uts, --cgroupns and --network.
func (e *Engine) shareNamespaces(c *container.Container, s *spec.Settings) error {
	h := c.HostConfig
	s.PID.Host, s.UTS.Host, s.Cgroup.Host = h.PidMode.IsHost(), h.UTSMode.IsHost(), h.CgroupnsMode.IsHost()
	s.Net.Host = h.NetworkMode.IsHost()
	if h.PidMode.IsContainer() {
		other, err := e.neighbour(c, h.PidMode.Container(), "PID")
		if err != nil {
			return err
		}
		s.PID.Path = namespace(other, "pid")
	}
	if ref, shared := strings.CutPrefix(string(h.UTSMode), "container:"); shared {
		other, err := e.neighbour(c, ref, "UTS")
		if err != nil {
			return err
		}
		s.UTS.Path = namespace(other, "uts")
	}
	if h.NetworkMode.IsContainer() {
		other, err := e.neighbour(c, h.NetworkMode.ConnectedContainer(), "network")
		if err != nil {
			return err
		}
		s.Net.Path = namespace(other, "net")
		s.Hostname, s.Domainname = other.Config.Hostname, other.Config.Domainname
	}
	return e.shareIPC(c, s)
}

func (e *Engine) shareIPC(c *container.Container, s *spec.Settings) error {
	switch mode := c.HostConfig.IpcMode; {
	case mode.IsHost():
		s.IPC.Host, s.ShmSource = true, "/dev/shm"
	case mode.IsContainer():
		other, err := e.neighbour(c, mode.Container(), "IPC")
		if err != nil {
			return err
		}
		if m := other.HostConfig.IpcMode; !m.IsShareable() && !m.IsHost() {
			return errdefs.ErrInvalidArgument.WithMessage("can't join IPC of container " + mode.Container() + ": non-shareable IPC (hint: use IpcMode:shareable for the donor container)")
		}
		s.IPC.Path = namespace(other, "ipc")
		s.ShmSource = "/proc/" + strconv.Itoa(other.State.Pid) + "/root/dev/shm"
	}
	return nil
}

// neighbour finds the running container whose namespace of the given kind c wants to share.
func (e *Engine) neighbour(c *container.Container, ref, kind string) (*container.Container, error) {
	other, err := e.containers.Get(ref)
	switch {
	case err != nil:
		return nil, err
	case other.ID == c.ID:
		return nil, errdefs.ErrInvalidArgument.WithMessage("cannot join own " + kind + " namespace")
	case other.State.Status == ct.StateRestarting:
		return nil, errdefs.ErrConflict.WithMessage("container " + other.ID + " is restarting, wait until the container is running")
	case !other.State.Alive():
		return nil, errdefs.ErrConflict.WithMessage("cannot join " + kind + " namespace of a non running container: container " + other.Name + " is " + string(other.State.Status))
	}
	return other, nil
}

func namespace(c *container.Container, kind string) string {
	return "/proc/" + strconv.Itoa(c.State.Pid) + "/ns/" + kind
}

// cgroupPath is the container's cgroup: below the engine's or the request's parent.
func (e *Engine) cgroupPath(c *container.Container) string {
	parent := e.parts.Config.CgroupParent
	if c.HostConfig.CgroupParent != "" {
		parent = c.HostConfig.CgroupParent
	}
	if strings.HasSuffix(parent, ".slice") {
		return parent + ":cove:" + c.ID
	}
	return path.Join("/", parent, c.ID)
}

// logConfig is how the container's log is kept.
func (e *Engine) logConfig(c *container.Container) (logs.Config, error) {
	driver := c.HostConfig.LogConfig
	cfg := logs.Config{Path: logFile(e.parts.Config.Root, c)}
	cfg.Driver, cfg.Options = logs.Kept(driver.Type, driver.Config)
	if len(driver.Config) == 0 {
		return cfg, nil
	}
	var err error
	cfg.Attrs, err = logs.Details(driver.Config, logSubject(c), regexp.MatchString)
	return cfg, err
}

func logSubject(c *container.Container) logs.Subject {
	return logs.Subject{
		ID: c.ID, Name: c.Name, ImageID: c.Image.String(), ImageName: c.Config.Image, DaemonName: "docker",
		Labels: c.Config.Labels, Env: c.Config.Env,
	}
}

// forward sends what the container prints where its log driver says, until ended.
func (e *Engine) forward(c *container.Container, ended <-chan struct{}) {
	driver := c.HostConfig.LogConfig
	if !logs.Remote(driver.Type) || e.forwarding == nil {
		return
	}
	cfg, err := e.logConfig(c)
	if err != nil { // it was in order when the container was made
		e.log_.Error("cannot send a container's log", "container", c.ID, "error", err)
		return
	}
	e.forwarding.Follow(logs.Target{
		Log: cfg, Driver: driver.Type, Options: driver.Config, Subject: logSubject(c),
		Command: strings.Join(append([]string{c.Path}, c.Args...), " "), Created: c.Created,
	}, ended)
}

// seccompCache is the folder of compiled filters.
func (e *Engine) seccompCache() string { return filepath.Join(e.parts.Config.Root, "seccomp") }

func (e *Engine) wantsInit(c *container.Container) bool {
	if c.HostConfig.Init != nil {
		return *c.HostConfig.Init
	}
	return e.parts.Config.Init
}

// userOf is the container's user as the runtime looks it up; nobody said means root.
func userOf(c *container.Container) string {
	if c.Config.User == "" {
		return "0"
	}
	return c.Config.User
}
