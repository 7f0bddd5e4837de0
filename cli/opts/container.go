package opts

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/spf13/pflag"
)

// Container is what create and run say of a container, as it stands on the command line.
type Container struct {
	attach, env, envFiles, labels, labelFiles    []string
	volumes, volumesFrom, tmpfs, publish, expose []string
	publishFrom                                  []string
	links, aliases, linkLocalIPs, extraHosts     []string
	dns, dnsSearch, dnsOptions                   []string
	devices, deviceRules, capAdd, capDrop        []string
	groupAdd, securityOpts, storageOpts, logOpts []string
	annotations, sysctls                         map[string]string
	mounts                                       []mount.Mount
	networks                                     []attachment
	ulimits                                      map[string]*container.Ulimit
	weightDevices                                []*blkiodev.WeightDevice
	readBps, writeBps, readIOps, writeIOps       []*blkiodev.ThrottleDevice
	gpus                                         []container.DeviceRequest
	ip4, ip6                                     net.IP

	hostname, domainname, user, workdir, entrypoint string
	stopSignal, restart, runtime, logDriver         string
	pid, ipc, uts, userns, cgroupns, cgroupParent   string
	isolation, volumeDriver, mac, cidFile           string
	cpusetCpus, cpusetMems, healthCmd               string

	tty, stdin, init, privileged, readOnly  bool
	publishAll, autoRemove, noHealthcheck   bool
	oomKillDisable                          bool
	stopTimeout, oomScoreAdj, healthRetries int

	memory, memoryReservation, memorySwap, swappiness int64
	shmSize, kernelMemory, nanoCPUs, cpuShares        int64
	cpuPeriod, cpuQuota, cpuRtPeriod, cpuRtRuntime    int64
	cpuCount, cpuPercent, pidsLimit, ioMaxBandwidth   int64
	ioMaxIOps                                         uint64
	blkioWeight                                       uint16

	healthInterval, healthTimeout, healthStartPeriod, healthStartInterval time.Duration
}

// AddFlags puts every flag of create and run that describes the container into fs.
func (c *Container) AddFlags(fs *pflag.FlagSet) {
	c.processFlags(fs)
	c.storageFlags(fs)
	c.networkFlags(fs)
	c.securityFlags(fs)
	c.limitFlags(fs)
	c.deviceFlags(fs)
	c.healthFlags(fs)
	c.windowsFlags(fs)
}

// Attached tells whether -a was given.
func (c *Container) Attached() bool { return len(c.attach) > 0 }

func (c *Container) processFlags(fs *pflag.FlagSet) {
	List(fs, &c.attach, "attach", "a", "Attach to STDIN, STDOUT or STDERR", checkStream)
	List(fs, &c.env, "env", "e", "Set environment variables", Env)
	List(fs, &c.envFiles, "env-file", "", "Read environment variables from a file", nil)
	fs.StringVar(&c.entrypoint, "entrypoint", "", "Use this ENTRYPOINT instead of the image's")
	List(fs, &c.groupAdd, "group-add", "", "Join further groups", nil)
	fs.StringVarP(&c.hostname, "hostname", "h", "", "Host name of the container")
	fs.StringVar(&c.domainname, "domainname", "", "NIS domain name of the container")
	fs.BoolVarP(&c.stdin, "interactive", "i", false, "Keep STDIN open even if not attached")
	List(fs, &c.labels, "label", "l", "Set labels on the container", Label)
	List(fs, &c.labelFiles, "label-file", "", "Read labels from a file, one a line", nil)
	fs.StringVar(&c.stopSignal, "stop-signal", "", "Signal that stops the container")
	fs.IntVar(&c.stopTimeout, "stop-timeout", 0, "Seconds to wait for the container to stop")
	fs.BoolVarP(&c.tty, "tty", "t", false, "Allocate a pseudo-TTY")
	fs.StringVarP(&c.user, "user", "u", "", "Username or UID (format: <name|uid>[:<group|gid>])")
	fs.StringVarP(&c.workdir, "workdir", "w", "", "Working directory inside the container")
	fs.BoolVar(&c.autoRemove, "rm", false, "Remove the container and its anonymous volumes when it exits")
	fs.StringVar(&c.restart, "restart", "no", "Restart policy to apply when the container exits")
	fs.BoolVar(&c.init, "init", false, "Run an init in the container that forwards signals and reaps processes")
	fs.StringVar(&c.cidFile, "cidfile", "", "Write the container ID to this file")
	fs.StringVar(&c.runtime, "runtime", "", "Runtime to use for this container")
	fs.StringVar(&c.logDriver, "log-driver", "", "Logging driver of the container")
	List(fs, &c.logOpts, "log-opt", "", "Options of the logging driver", nil)
	Map(fs, &c.annotations, "annotation", "", "Add an annotation, passed through to the OCI runtime", nil)
}

func (c *Container) storageFlags(fs *pflag.FlagSet) {
	List(fs, &c.tmpfs, "tmpfs", "", "Mount a tmpfs directory", nil)
	List(fs, &c.volumes, "volume", "v", "Mount a volume or a path of the host", nil)
	List(fs, &c.volumesFrom, "volumes-from", "", "Mount the volumes of other containers", nil)
	fs.StringVar(&c.volumeDriver, "volume-driver", "", "Driver of volumes made for the container")
	Func(fs, "mount", "", "mount", "Mount a file system into the container", func(s string) error {
		m, err := ParseMount(s)
		if err == nil {
			c.mounts = append(c.mounts, m)
		}
		return err
	})
	fs.BoolVar(&c.readOnly, "read-only", false, "Mount the container's root file system read only")
	Bytes(fs, &c.shmSize, "shm-size", "", "Size of /dev/shm")
	List(fs, &c.storageOpts, "storage-opt", "", "Options of the storage driver", nil)
}

func (c *Container) networkFlags(fs *pflag.FlagSet) {
	List(fs, &c.extraHosts, "add-host", "", "Add a host-to-IP mapping (host:ip)", checkHost)
	List(fs, &c.dns, "dns", "", "Use these DNS servers", checkIP)
	List(fs, &c.dnsOptions, "dns-opt", "", "Use these DNS options", nil)
	List(fs, &c.dnsOptions, "dns-option", "", "Use these DNS options", nil)
	List(fs, &c.dnsSearch, "dns-search", "", "Use these DNS search domains", checkDomain)
	List(fs, &c.expose, "expose", "", "Expose a port or a range of ports", nil)
	fs.IPVar(&c.ip4, "ip", nil, "IPv4 address (e.g., 172.30.100.104)")
	fs.IPVar(&c.ip6, "ip6", nil, "IPv6 address (e.g., 2001:db8::33)")
	List(fs, &c.links, "link", "", "Add a link to another container", CheckLink)
	List(fs, &c.linkLocalIPs, "link-local-ip", "", "Link-local addresses of the container", checkIP)
	fs.StringVar(&c.mac, "mac-address", "", "MAC address of the container (e.g., 92:d0:c6:0a:29:33)")
	List(fs, &c.publish, "publish", "p", "Publish ports of the container on the host", nil)
	List(fs, &c.publishFrom, "publish-from", "", "Publish ports only to who comes from these addresses (CIDR)", CheckRange)
	fs.BoolVarP(&c.publishAll, "publish-all", "P", false, "Publish every exposed port on a free port of the host")
	attach := func(s string) error {
		a, err := parseNetwork(s)
		if err == nil {
			c.networks = append(c.networks, a)
		}
		return err
	}
	Func(fs, "net", "", "network", "Connect the container to a network", attach)
	Func(fs, "network", "", "network", "Connect the container to a network", attach)
	List(fs, &c.aliases, "net-alias", "", "Give the container a further name on the network", nil)
	List(fs, &c.aliases, "network-alias", "", "Give the container a further name on the network", nil)
	for _, old := range []string{"dns-opt", "net", "net-alias"} {
		fs.Lookup(old).Hidden = true
	}
}

func (c *Container) securityFlags(fs *pflag.FlagSet) {
	List(fs, &c.capAdd, "cap-add", "", "Add Linux capabilities", nil)
	List(fs, &c.capDrop, "cap-drop", "", "Drop Linux capabilities", nil)
	fs.BoolVar(&c.privileged, "privileged", false, "Give the container extended privileges")
	List(fs, &c.securityOpts, "security-opt", "", "Security options", nil)
	fs.StringVar(&c.userns, "userns", "", "User namespace to use")
	fs.StringVar(&c.ipc, "ipc", "", "IPC mode to use")
	fs.StringVar(&c.pid, "pid", "", "PID namespace to use")
	fs.StringVar(&c.uts, "uts", "", "UTS namespace to use")
	fs.StringVar(&c.cgroupns, "cgroupns", "", "Cgroup namespace to use (host|private)")
	fs.StringVar(&c.cgroupParent, "cgroup-parent", "", "Parent cgroup of the container")
	Map(fs, &c.sysctls, "sysctl", "", "Kernel parameters of the container's namespaces", checkSysctl)
}

func (c *Container) limitFlags(fs *pflag.FlagSet) {
	fs.Uint16Var(&c.blkioWeight, "blkio-weight", 0, "Relative weight for block IO, 10 to 1000, or 0 to disable")
	fs.StringVar(&c.cpusetCpus, "cpuset-cpus", "", "CPUs the container may use (0-3, 0,1)")
	fs.StringVar(&c.cpusetMems, "cpuset-mems", "", "Memory nodes the container may use (0-3, 0,1)")
	fs.Int64Var(&c.cpuPeriod, "cpu-period", 0, "Period of the CPU quota in microseconds")
	fs.Int64Var(&c.cpuQuota, "cpu-quota", 0, "CPU time in microseconds a period allows")
	fs.Int64Var(&c.cpuRtPeriod, "cpu-rt-period", 0, "Period of the real-time CPU limit in microseconds")
	fs.Int64Var(&c.cpuRtRuntime, "cpu-rt-runtime", 0, "Real-time CPU microseconds a period allows")
	fs.Int64VarP(&c.cpuShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	CPUs(fs, &c.nanoCPUs, "cpus", "Number of CPUs")
	Bytes(fs, &c.kernelMemory, "kernel-memory", "", "Kernel memory limit")
	fs.Lookup("kernel-memory").Hidden = true
	Bytes(fs, &c.memory, "memory", "m", "Memory limit")
	Bytes(fs, &c.memoryReservation, "memory-reservation", "", "Memory soft limit")
	SwapBytes(fs, &c.memorySwap, "memory-swap", "", "Limit of memory and swap together: '-1' for unlimited swap")
	fs.Int64Var(&c.swappiness, "memory-swappiness", -1, "Readiness to swap (0 to 100)")
	fs.BoolVar(&c.oomKillDisable, "oom-kill-disable", false, "Disable the OOM killer")
	fs.IntVar(&c.oomScoreAdj, "oom-score-adj", 0, "Preference of the OOM killer (-1000 to 1000)")
	fs.Int64Var(&c.pidsLimit, "pids-limit", 0, "Number of processes (-1 for unlimited)")
	c.ulimits = map[string]*container.Ulimit{}
	Func(fs, "ulimit", "", "ulimit", "Ulimit options", c.addUlimit)
}

func (c *Container) deviceFlags(fs *pflag.FlagSet) {
	List(fs, &c.devices, "device", "", "Add a device of the host to the container", nil)
	List(fs, &c.deviceRules, "device-cgroup-rule", "", "Add a rule to the list of allowed devices", checkDeviceRule)
	throttle := func(to *[]*blkiodev.ThrottleDevice, name, usage string, parse func(string) (*blkiodev.ThrottleDevice, error)) {
		Func(fs, name, "", "list", usage, func(s string) error {
			d, err := parse(s)
			if err == nil {
				*to = append(*to, d)
			}
			return err
		})
	}
	throttle(&c.readBps, "device-read-bps", "Limit bytes a second read from a device", parseRate)
	throttle(&c.writeBps, "device-write-bps", "Limit bytes a second written to a device", parseRate)
	throttle(&c.readIOps, "device-read-iops", "Limit reads a second from a device", parseIOps)
	throttle(&c.writeIOps, "device-write-iops", "Limit writes a second to a device", parseIOps)
	Func(fs, "blkio-weight-device", "", "list", "Relative weight for block IO of a device", func(s string) error {
		d, err := parseWeight(s)
		if err == nil {
			c.weightDevices = append(c.weightDevices, d)
		}
		return err
	})
	Func(fs, "gpus", "", "gpu-request", "GPU devices to add to the container ('all' to pass all GPUs)", func(s string) error {
		r, err := parseGPUs(s)
		c.gpus = append(c.gpus, r)
		return err
	})
}

func (c *Container) healthFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.healthCmd, "health-cmd", "", "Command that checks health")
	fs.DurationVar(&c.healthInterval, "health-interval", 0, "Time between checks (ms|s|m|h)")
	fs.IntVar(&c.healthRetries, "health-retries", 0, "Failures in a row that make the container unhealthy")
	fs.DurationVar(&c.healthTimeout, "health-timeout", 0, "Longest time one check may take (ms|s|m|h)")
	fs.DurationVar(&c.healthStartPeriod, "health-start-period", 0, "Time to start in, when failures do not count (ms|s|m|h)")
	fs.DurationVar(&c.healthStartInterval, "health-start-interval", 0, "Time between checks during the start period (ms|s|m|h)")
	fs.BoolVar(&c.noHealthcheck, "no-healthcheck", false, "Disable any HEALTHCHECK of the image")
}

func (c *Container) windowsFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.isolation, "isolation", "", "Isolation technology of the container")
	fs.Int64Var(&c.cpuCount, "cpu-count", 0, "CPU count (Windows only)")
	fs.Int64Var(&c.cpuPercent, "cpu-percent", 0, "CPU percent (Windows only)")
	Bytes(fs, &c.ioMaxBandwidth, "io-maxbandwidth", "", "Limit of the system drive's bandwidth (Windows only)")
	fs.Uint64Var(&c.ioMaxIOps, "io-maxiops", 0, "Limit of the system drive's IOps (Windows only)")
	fs.Bool("disable-content-trust", true, "Skip image verification (deprecated)")
	fs.Lookup("disable-content-trust").Hidden = true
}

// checkSysctl refuses kernel parameters that a container has no own value of.
func checkSysctl(s string) error {
	key, _, ok := strings.Cut(s, "=")
	switch key {
	case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced":
	default:
		ok = ok && (strings.HasPrefix(key, "net.") || strings.HasPrefix(key, "fs.mqueue."))
	}
	if !ok {
		return fmt.Errorf("sysctl '%s' is not allowed", s)
	}
	return nil
}

func checkStream(s string) (string, error) {
	switch low := strings.ToLower(s); low {
	case "stdin", "stdout", "stderr":
		return low, nil
	}
	return s, errStreams
}
