package main

import (
	"log/slog"

	ct "github.com/moby/moby/api/types/container"
	"github.com/spf13/pflag"

	"github.com/cove-containers/cove/runtime"
)

// keys names the file's key of each flag where the two differ.
var keys = map[string]string{
	"host": "hosts", "insecure-registry": "insecure-registries", "registry-mirror": "registry-mirrors", "log-opt": "log-opts",
	"dns-opt": "dns-opts", "default-address-pool": "default-address-pools", "default-network-opt": "default-network-opts", "exec-opt": "exec-opts", "storage-opt": "storage-opts", "label": "labels",
	"default-ulimit": "default-ulimits", "add-runtime": "runtimes", "cdi-spec-dir": "cdi-spec-dirs", "host-gateway-ip": "host-gateway-ips",
	"authorization-plugin": "authorization-plugins", "node-generic-resource": "node-generic-resources", "feature": "features",
}

// formerly are keys that have another name now.
var formerly = map[string]string{"host-gateway-ip": "host-gateway-ips", "containerd-plugin-namespace": "containerd-plugins-namespace"}

// notInFile are flags that mean nothing in the file they lead to.
var notInFile = map[string]bool{"config-file": true, "validate": true, "version": true, "help": true}

func newSettings() *settings {
	s := &settings{level: new(slog.LevelVar)}
	f := pflag.NewFlagSet("coved", pflag.ContinueOnError)
	f.SortFlags = true
	s.flags = f
	s.addDaemon(f)
	s.addNetworks(f)
	s.addContainers(f)
	s.addImages(f)
	s.addPassed(f)
	return s
}

// addDaemon adds the flags of the daemon itself.
func (s *settings) addDaemon(f *pflag.FlagSet) {
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
	f.StringArrayVar(&s.labels, "label", nil, "Set key=value labels to the daemon")
	f.StringVarP(&s.storageDriver, "storage-driver", "s", "overlay2", "Storage driver to use")
	f.StringArrayVar(&s.storageOptions, "storage-opt", nil, "Storage driver options (overlay2.size=SIZE: what the files of a container may take)")
	f.BoolVar(&s.experimental, "experimental", false, "Tell clients that experimental features are enabled, also where there is no criu for the only ones, checkpoints")
	f.StringVar(&s.metricsAddr, "metrics-addr", "", "Set address and port to serve the metrics api on, /metrics for Prometheus")
	f.IntVar(&s.oomScore, "oom-score-adjust", 0, "Set the oom_score_adj for the daemon")
}

// addNetworks adds the flags of networks, most of which are for the default one.
func (s *settings) addNetworks(f *pflag.FlagSet) {
	f.StringVarP(&s.bridge, "bridge", "b", "", "Name of the default bridge; \"none\" disables container networking")
	f.StringVar(&s.bip, "bip", "", "IPv4 address and prefix for the default bridge")
	f.StringVar(&s.fixedCIDR, "fixed-cidr", "", "IPv4 subnet for the default bridge network")
	f.StringVar(&s.gateway, "default-gateway", "", "Default gateway IPv4 address for the default bridge network")
	f.BoolVar(&s.ipv6, "ipv6", false, "Enable IPv6 networking for the default bridge network")
	f.StringVar(&s.bip6, "bip6", "", "IPv6 address and prefix for the default bridge")
	f.StringVar(&s.fixedCIDR6, "fixed-cidr-v6", "", "IPv6 subnet for the default bridge network")
	f.StringVar(&s.gateway6, "default-gateway-v6", "", "Default gateway IPv6 address for the default bridge network")
	f.BoolVar(&s.icc, "icc", true, "Enable inter-container communication for the default bridge network")
	f.BoolVar(&s.masquerade, "ip-masq", true, "Enable IP masquerading for the default bridge network")
	f.BoolVar(&s.forward, "ip-forward", true, "Enable IP forwarding in system configuration")
	f.BoolVar(&s.direct, "allow-direct-routing", false, "Allow remote access to published ports on container IP addresses")
	f.StringVar(&s.acceptMark, "bridge-accept-fwmark", "", "In bridge networks, accept packets with this firewall mark/mask")
	f.StringVar(&s.ip, "ip", "", "Host IP for port publishing from the default bridge network")
	f.StringSliceVar(&s.publishAllow, "publish-allow", nil, "Addresses and ranges from which published ports can be reached (default: from everywhere)")
	f.StringArrayVar(&s.hostGateways, "host-gateway-ip", nil, "IP addresses that the special 'host-gateway' string in --add-host resolves to")
	f.IntVar(&s.mtu, "mtu", 0, "Set the MTU for the default network (default: the host's)")
	f.StringArrayVar(&s.pools, "default-address-pool", nil, "Default address pools for networks (base=CIDR,size=BITS)")
	f.StringArrayVar(&s.networkOptions, "default-network-opt", nil, "Default options of networks that are made (driver=option=value)")
}

// addContainers adds the flags that say how containers are where they do not say themselves.
func (s *settings) addContainers(f *pflag.FlagSet) {
	f.StringSliceVar(&s.dns, "dns", nil, "DNS server to use")
	f.StringSliceVar(&s.dnsSearch, "dns-search", nil, "DNS search domains to use")
	f.StringSliceVar(&s.dnsOptions, "dns-opt", nil, "DNS options to use")
	f.StringArrayVar(&s.runtimes, "add-runtime", nil, "Register an additional OCI compatible runtime (name=path)")
	f.StringVar(&s.defaultRuntime, "default-runtime", "", "Default OCI runtime for containers (default \"cove\")")
	f.StringVar(&s.logDriver, "log-driver", "json-file", "Default driver for container logs")
	f.StringArrayVar(&s.logOptions, "log-opt", nil, "Default log driver options for containers")
	f.StringArrayVar(&s.ulimits, "default-ulimit", nil, "Default ulimits for containers")
	f.StringVar(&s.shmSize, "default-shm-size", "64MiB", "Default shm size for containers")
	f.StringVar(&s.ipcMode, "default-ipc-mode", "private", "Default mode for containers ipc (shareable, private)")
	f.StringVar(&s.cgroupnsMode, "default-cgroupns-mode", string(usualCgroupns(runtime.UnifiedCgroups())), "Default mode for containers cgroup namespace (host, private)")
	f.BoolVar(&s.initProcess, "init", false, "Run an init in the container to forward signals and reap processes")
	f.BoolVar(&s.noNewPrivileges, "no-new-privileges", false, "Set no-new-privileges by default for new containers")
	f.StringVar(&s.seccompProfile, "seccomp-profile", "builtin", "Path to seccomp profile. Set to \"unconfined\" to disable the default seccomp profile")
	f.StringVar(&s.cgroupParent, "cgroup-parent", "", "Set parent cgroup for all containers")
	f.StringArrayVar(&s.execOptions, "exec-opt", nil, "Runtime execution options")
	f.StringVar(&s.usernsRemap, "userns-remap", "", "User/Group setting for user namespaces")
	f.StringArrayVar(&s.cdiDirs, "cdi-spec-dir", []string{"/etc/cdi", "/var/run/cdi"}, "Folders with descriptions of devices (Container Device Interface)")
}

// addImages adds the flags of images, registries, that of the daemon's own among them, and builds.
func (s *settings) addImages(f *pflag.FlagSet) {
	f.StringArrayVar(&s.insecure, "insecure-registry", nil, "Enable insecure registry communication")
	f.StringArrayVar(&s.mirrors, "registry-mirror", nil, "Preferred registry mirror")
	f.StringArrayVar(&s.certsDirs, "certs-dir", []string{"/etc/cove/certs.d", "/etc/docker/certs.d"}, "Folders with a folder of certificates for each registry")
	f.StringVar(&s.httpProxy, "http-proxy", "", "HTTP proxy URL to use for outgoing traffic")
	f.StringVar(&s.httpsProxy, "https-proxy", "", "HTTPS proxy URL to use for outgoing traffic")
	f.StringVar(&s.noProxy, "no-proxy", "", "Comma-separated list of hosts or IP addresses for which the proxy is skipped")
	f.IntVar(&s.downloads, "max-concurrent-downloads", 0, "Blobs downloaded at once, over all pulls (default 4)")
	f.IntVar(&s.uploads, "max-concurrent-uploads", 0, "Blobs uploaded at once, over all pushes (default 8)")
	f.IntVar(&s.attempts, "max-download-attempts", 0, "Attempts in a row at a blob of which nothing more comes (default 4)")
	f.StringArrayVar(&s.registry.listen, "registry-listen", nil, "Serve a registry of the daemon's own on this address, [HOST]:PORT")
	s.registry.add(f, "registry-")
	f.Var(&s.builder, "builder", "Settings of the builder, as in the configuration file")
	f.MarkHidden("builder")
}

// usualCgroupns is the cgroup namespace of containers where nobody says otherwise. With the older hierarchies it is the host's:
// systemd, shown these, finds the container's groups by names that are true there, and else takes the host's root for its own.
func usualCgroupns(unified bool) ct.CgroupnsMode {
	if unified {
		return ct.CgroupnsModePrivate
	}
	return ct.CgroupnsModeHost
}
