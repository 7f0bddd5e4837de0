package opts

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cove-containers/cove/api"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/pflag"
)

var errStreams = errors.New("valid streams are STDIN, STDOUT and STDERR")

// Settings are a container as the API takes it.
type Settings struct {
	Config     *container.Config
	HostConfig *container.HostConfig
	Networking *network.NetworkingConfig
}

// Build puts the flags together; image and command are the arguments after them. fs is the set they were parsed
// from: some mean something by being there at all.
func (c *Container) Build(fs *pflag.FlagSet, image string, command []string) (Settings, error) {
	if err := c.check(); err != nil {
		return Settings{}, err
	}
	volumes, binds, err := splitBinds(c.volumes)
	if err != nil {
		return Settings{}, err
	}
	exposed, bound, err := c.ports()
	if err != nil {
		return Settings{}, err
	}
	host := &container.HostConfig{Binds: binds, PortBindings: bound}
	config := &container.Config{ExposedPorts: exposed, Volumes: volumes, Image: image, Cmd: command}
	if len(command) == 0 {
		config.Cmd = nil
	}
	for _, part := range []func(*pflag.FlagSet, *container.Config, *container.HostConfig) error{
		c.devicesInto, c.processInto, c.namespacesInto, c.restartInto, c.securityInto, c.storageInto, c.healthInto, c.networkInto, c.resourcesInto,
	} {
		if err := part(fs, config, host); err != nil {
			return Settings{}, err
		}
	}
	endpoints, err := c.endpoints()
	if err != nil {
		return Settings{}, err
	}
	return Settings{config, host, &network.NetworkingConfig{EndpointsConfig: endpoints}}, nil
}

// check refuses what is wrong by itself, before anything is put together.
func (c *Container) check() error {
	if c.mac != "" {
		if _, err := net.ParseMAC(strings.TrimSpace(c.mac)); err != nil {
			return errors.New(c.mac + " is not a valid mac address")
		}
	}
	if c.swappiness != -1 && (c.swappiness < 0 || c.swappiness > 100) {
		return fmt.Errorf("invalid value: %d. Valid memory swappiness range is 0-100", c.swappiness)
	}
	return nil
}

func (c *Container) ports() (network.PortSet, network.PortMap, error) {
	exposed, bound, err := ParsePorts(c.publish)
	if err != nil {
		return nil, nil, err
	}
	for _, spec := range c.expose {
		if strings.Contains(spec, ":") {
			return nil, nil, fmt.Errorf("invalid port format for --expose: %s", spec)
		}
		numbers, proto, _ := strings.Cut(spec, "/")
		first, last, err := portRange(numbers)
		if numbers == "" {
			err = errors.New("empty string specified for ports")
		}
		if err != nil {
			return nil, nil, fmt.Errorf("invalid range format for --expose: %s, error: %w", spec, err)
		}
		for n := first; n <= last; n++ {
			port, _ := network.PortFrom(uint16(n), network.IPProtocol(cmp.Or(strings.ToLower(proto), "tcp")))
			exposed[port] = struct{}{}
		}
	}
	return exposed, bound, nil
}

func (c *Container) devicesInto(_ *pflag.FlagSet, _ *container.Config, host *container.HostConfig) error {
	var cdi []string
	host.Devices = []container.DeviceMapping{}
	for _, spec := range c.devices {
		if isCDI(spec) {
			cdi = append(cdi, spec)
			continue
		}
		device, err := parseDevice(spec)
		if err != nil {
			return err
		}
		host.Devices = append(host.Devices, device)
	}
	if len(cdi) > 0 {
		host.DeviceRequests = []container.DeviceRequest{{Driver: "cdi", DeviceIDs: cdi}}
	}
	host.DeviceRequests = append(host.DeviceRequests, c.gpus...)
	host.DeviceCgroupRules = c.deviceRules
	return nil
}

func (c *Container) processInto(fs *pflag.FlagSet, config *container.Config, host *container.HostConfig) error {
	env, err := EnvFiles(c.envFiles, c.env)
	if err != nil {
		return err
	}
	labels, err := LabelFiles(c.labelFiles, c.labels)
	if err != nil {
		return err
	}
	config.Env, config.Labels = env, Pairs(labels)
	config.Hostname, config.Domainname = c.hostname, c.domainname
	config.User, config.WorkingDir, config.StopSignal = c.user, c.workdir, c.stopSignal
	config.Tty, config.OpenStdin = c.tty, c.stdin
	config.AttachStdin = c.stdin || slices.Contains(c.attach, "stdin")
	config.AttachStdout = len(c.attach) == 0 || slices.Contains(c.attach, "stdout")
	config.AttachStderr = len(c.attach) == 0 || slices.Contains(c.attach, "stderr")
	config.StdinOnce = config.OpenStdin && config.AttachStdin
	if c.entrypoint != "" || fs.Changed("entrypoint") {
		config.Entrypoint = []string{c.entrypoint} // an empty one takes the image's away
	}
	if fs.Changed("stop-timeout") {
		config.StopTimeout = &c.stopTimeout
	}
	if fs.Changed("init") {
		host.Init = &c.init
	}
	if len(c.publishFrom) > 0 {
		if _, both := c.annotations[api.PublishFrom]; both {
			return errors.New("conflicting options: --publish-from and the annotation " + api.PublishFrom)
		}
		c.annotations = maps.Clone(notNil(c.annotations))
		c.annotations[api.PublishFrom] = strings.Join(c.publishFrom, ",")
	}
	host.ContainerIDFile, host.AutoRemove, host.Runtime = c.cidFile, c.autoRemove, c.runtime
	host.GroupAdd, host.Annotations, host.Isolation = c.groupAdd, notNil(c.annotations), container.Isolation(c.isolation)
	return nil
}

func (c *Container) namespacesInto(_ *pflag.FlagSet, _ *container.Config, host *container.HostConfig) error {
	host.PidMode, host.UTSMode = container.PidMode(c.pid), container.UTSMode(c.uts)
	host.UsernsMode, host.CgroupnsMode = container.UsernsMode(c.userns), container.CgroupnsMode(c.cgroupns)
	host.IpcMode = container.IpcMode(c.ipc)
	switch {
	case !host.PidMode.Valid():
		return errors.New("--pid: invalid PID mode")
	case !host.UTSMode.Valid():
		return errors.New("--uts: invalid UTS mode")
	case !host.UsernsMode.Valid():
		return errors.New("--userns: invalid USER mode")
	case !host.CgroupnsMode.Valid():
		return errors.New("--cgroupns: invalid CGROUP mode")
	}
	return nil
}

func (c *Container) restartInto(_ *pflag.FlagSet, _ *container.Config, host *container.HostConfig) (err error) {
	if host.RestartPolicy, err = ParseRestart(c.restart); err != nil {
		return err
	}
	if c.logDriver == "none" && len(c.logOpts) > 0 {
		return errors.New("invalid logging opts for driver none")
	}
	host.LogConfig = container.LogConfig{Type: c.logDriver, Config: Pairs(c.logOpts)}
	return nil
}

// ParseRestart reads a restart policy: "no", "always", "unless-stopped" or "on-failure[:times]".
func ParseRestart(s string) (container.RestartPolicy, error) {
	name, count, ok := strings.Cut(s, ":")
	if ok && name == "" {
		return container.RestartPolicy{}, errors.New("invalid restart policy format: no policy provided before colon")
	}
	policy := container.RestartPolicy{Name: container.RestartPolicyMode(name)}
	if count != "" {
		n, err := strconv.Atoi(count)
		if err != nil {
			return container.RestartPolicy{}, errors.New("invalid restart policy format: maximum retry count must be an integer")
		}
		policy.MaximumRetryCount = n
	}
	return policy, nil
}

func (c *Container) securityInto(_ *pflag.FlagSet, _ *container.Config, host *container.HostConfig) error {
	for _, opt := range c.securityOpts {
		if opt == "systempaths=unconfined" {
			host.MaskedPaths, host.ReadonlyPaths, host.SecurityOpt = []string{}, []string{}, orEmpty(host.SecurityOpt)
			continue
		}
		opt, err := securityOpt(opt)
		if err != nil {
			return err
		}
		host.SecurityOpt = append(host.SecurityOpt, opt)
	}
	host.CapAdd, host.CapDrop = capabilities(c.capAdd), capabilities(c.capDrop)
	host.Privileged = c.privileged
	host.ReadonlyRootfs, host.Sysctls = c.readOnly, notNil(c.sysctls)
	return nil
}

// capabilities gives capabilities their full names, each once.
func capabilities(list []string) []string {
	var names []string
	for _, name := range list {
		name = strings.ToUpper(strings.TrimSpace(name))
		if name != "ALL" && name != "RESET" && !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// securityOpt checks one value of --security-opt and puts a seccomp profile's text in place of its file name.
func securityOpt(opt string) (string, error) {
	key, val, ok := strings.Cut(opt, "=")
	if !ok && key != "no-new-privileges" {
		key, val, ok = strings.Cut(opt, ":")
	}
	if (!ok || val == "") && key != "no-new-privileges" {
		return "", fmt.Errorf("Invalid --security-opt: %q", opt)
	}
	if key != "seccomp" || val == "unconfined" || val == "builtin" {
		return opt, nil
	}
	raw, err := os.ReadFile(val)
	if err != nil {
		return "", fmt.Errorf("opening seccomp profile (%s) failed: %w", val, err)
	}
	var profile bytes.Buffer
	if err := json.Compact(&profile, raw); err != nil {
		return "", fmt.Errorf("compacting json for seccomp profile (%s) failed: %w", val, err)
	}
	return "seccomp=" + profile.String(), nil
}

func (c *Container) storageInto(_ *pflag.FlagSet, _ *container.Config, host *container.HostConfig) error {
	host.StorageOpt = map[string]string{}
	for _, opt := range c.storageOpts {
		key, val, ok := strings.Cut(opt, "=")
		if !ok {
			return errors.New("invalid storage option")
		}
		host.StorageOpt[key] = val
	}
	host.Tmpfs = map[string]string{}
	for _, spec := range c.tmpfs {
		path, options, _ := strings.Cut(spec, ":")
		host.Tmpfs[path] = options
	}
	host.VolumesFrom, host.VolumeDriver, host.Mounts, host.ShmSize = c.volumesFrom, c.volumeDriver, c.mounts, c.shmSize
	return nil
}

func (c *Container) healthInto(_ *pflag.FlagSet, config *container.Config, _ *container.HostConfig) error {
	given := c.healthCmd != "" || c.healthInterval != 0 || c.healthTimeout != 0 || c.healthStartPeriod != 0 ||
		c.healthRetries != 0 || c.healthStartInterval != 0
	if c.noHealthcheck {
		if given {
			return errors.New("--no-healthcheck conflicts with --health-* options")
		}
		config.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
		return nil
	}
	if !given {
		return nil
	}
	for _, v := range []struct {
		flag string
		n    int64
	}{
		{"interval", int64(c.healthInterval)}, {"timeout", int64(c.healthTimeout)}, {"retries", int64(c.healthRetries)},
		{"start-period", int64(c.healthStartPeriod)}, {"start-interval", int64(c.healthStartInterval)},
	} {
		if v.n < 0 {
			return fmt.Errorf("--health-%s cannot be negative", v.flag)
		}
	}
	h := &container.HealthConfig{
		Interval: c.healthInterval, Timeout: c.healthTimeout, Retries: c.healthRetries,
		StartPeriod: c.healthStartPeriod, StartInterval: c.healthStartInterval,
	}
	if c.healthCmd != "" {
		h.Test = []string{"CMD-SHELL", c.healthCmd}
	}
	config.Healthcheck = h
	return nil
}

func (c *Container) networkInto(_ *pflag.FlagSet, _ *container.Config, host *container.HostConfig) error {
	if c.autoRemove && !host.RestartPolicy.IsNone() {
		return errors.New("conflicting options: cannot specify both --restart and --rm")
	}
	host.NetworkMode = network.NetworkDefault
	if len(c.networks) > 0 {
		host.NetworkMode = container.NetworkMode(c.networks[0].target)
	}
	host.Links, host.PublishAllPorts, host.ExtraHosts = c.links, c.publishAll, c.extraHosts
	host.DNS, host.DNSSearch, host.DNSOptions = orEmpty(addresses(c.dns)), orEmpty(c.dnsSearch), orEmpty(c.dnsOptions)
	return nil
}

func (c *Container) resourcesInto(_ *pflag.FlagSet, _ *container.Config, host *container.HostConfig) error {
	r := &host.Resources
	r.CgroupParent, r.NanoCPUs, r.CPUShares = c.cgroupParent, c.nanoCPUs, c.cpuShares
	r.Memory, r.MemoryReservation, r.MemorySwap = c.memory, c.memoryReservation, c.memorySwap
	r.MemorySwappiness, r.OomKillDisable, r.PidsLimit = &c.swappiness, &c.oomKillDisable, &c.pidsLimit
	r.CPUPeriod, r.CPUQuota, r.CPURealtimePeriod, r.CPURealtimeRuntime = c.cpuPeriod, c.cpuQuota, c.cpuRtPeriod, c.cpuRtRuntime
	r.CpusetCpus, r.CpusetMems, r.CPUCount, r.CPUPercent = c.cpusetCpus, c.cpusetMems, c.cpuCount, c.cpuPercent
	r.BlkioWeight, r.BlkioWeightDevice = c.blkioWeight, orEmpty(c.weightDevices)
	r.BlkioDeviceReadBps, r.BlkioDeviceWriteBps = orEmpty(c.readBps), orEmpty(c.writeBps)
	r.BlkioDeviceReadIOps, r.BlkioDeviceWriteIOps = orEmpty(c.readIOps), orEmpty(c.writeIOps)
	r.IOMaximumIOps, r.IOMaximumBandwidth = c.ioMaxIOps, uint64(c.ioMaxBandwidth)
	for _, name := range slices.Sorted(maps.Keys(c.ulimits)) {
		r.Ulimits = append(r.Ulimits, c.ulimits[name])
	}
	r.Ulimits, host.OomScoreAdj = orEmpty(r.Ulimits), c.oomScoreAdj
	return nil
}

func (c *Container) addUlimit(s string) error {
	limit, err := units.ParseUlimit(s)
	if err == nil {
		c.ulimits[limit.Name] = limit
	}
	return err
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func notNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
