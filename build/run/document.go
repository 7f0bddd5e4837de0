package run

import (
	"path"
	goruntime "runtime"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/spec"
)

// command is a process that is to run in a box.
type command struct {
	args, env []string
	cwd, user string
	insecure  bool
	tty       bool
}

// mostProcesses bounds what one step may start: more than builds need, and less than what the host falls over with.
func mostProcesses() int64 { return min(2048+512*int64(goruntime.NumCPU()), 16384) }

// defaultPath is where programs are looked for when nobody says.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// withDefault adds NAME=VALUE unless env has NAME.
func withDefault(env []string, entry string) []string {
	name, _, _ := strings.Cut(entry, "=")
	if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") }) {
		return env
	}
	return append(slices.Clone(env), entry)
}

// document writes down the box, with the process that begins it, in the words of the runtime.
func (b *box) document(c command) (*specs.Spec, error) {
	cfg := b.runner.parts.Config
	hostsText, err := hosts(b.hostname, b.extraHosts, b.runner.parts.Networks.HostGateways())
	if err != nil {
		return nil, err
	}
	resolv, err := resolvConf(b.net.resolv)
	if err != nil {
		return nil, err
	}
	mounts := slices.Clone(b.mounts)
	for _, f := range []struct{ text, at string }{{resolv, "/etc/resolv.conf"}, {hostsText, "/etc/hosts"}} {
		file, err := b.runner.etc.file(f.text)
		if err != nil {
			return nil, err
		}
		// What the step mounts there, or over the whole of /etc, is what it wants to see: nothing is put into it.
		own := func(m spec.Mount) bool { return path.Clean(m.Target) == f.at || path.Clean(m.Target) == path.Dir(f.at) }
		if !slices.ContainsFunc(b.mounts, own) {
			mounts = append(mounts, spec.Mount{Type: "bind", Source: file, Target: f.at, MayOwn: true, ReadOnly: true})
		}
	}
	limits := b.limits
	if limits == nil {
		limits = &step.Limits{}
	}
	s := spec.Settings{
		ID: b.id, Args: c.args, Hostname: b.hostname, Mounts: mounts,
		Config:     &ct.Config{WorkingDir: c.cwd, Tty: c.tty},
		HostConfig: b.hostConfig(c, limits),
		CgroupPath: b.cgroupPath(limits.CgroupParent), CgroupV2: runtime.UnifiedCgroups(),
		Ulimits: cfg.Ulimits, SeccompProfile: cfg.SeccompProfile, NoNewPrivileges: cfg.NoNewPrivileges && !c.insecure, AppArmor: cfg.AppArmor,
		DefaultShmSize: cfg.ShmSize, Users: cfg.Users,
	}
	s.Net.Host = b.net.host
	doc, err := spec.Document(s)
	if err != nil {
		return nil, err
	}
	doc.Process.Env = c.env
	doc.Process.OOMScoreAdj = nil
	if len(b.devices) > 0 {
		if err := b.injectDevices(doc); err != nil {
			return nil, err
		}
	}
	return doc, nil
}

// hostConfig is what a container would be asked for.
func (b *box) hostConfig(c command, limits *step.Limits) *ct.HostConfig {
	pids := mostProcesses()
	h := &ct.HostConfig{
		Privileged: c.insecure, ReadonlyRootfs: b.readOnly, ShmSize: limits.ShmSize,
		Resources: ct.Resources{
			Memory: limits.Memory, MemorySwap: limits.MemorySwap, CPUShares: limits.CPUShares,
			CPUPeriod: limits.CPUPeriod, CPUQuota: limits.CPUQuota, CpusetCpus: limits.CPUSetCPUs, CpusetMems: limits.CPUSetMems,
			PidsLimit: &pids,
		},
	}
	for _, u := range limits.Ulimits {
		h.Ulimits = append(h.Ulimits, &ct.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	for _, u := range b.ulimits {
		h.Ulimits = append(h.Ulimits, &ct.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	return h
}

// cgroupPath is the step's cgroup: below the client's parent or the daemon's.
func (b *box) cgroupPath(parent string) string {
	for _, wished := range []string{b.cgroupParent, parent, b.runner.parts.Config.CgroupParent} {
		if wished == "" {
			continue
		}
		if strings.HasSuffix(wished, ".slice") {
			return wished + ":cove:" + b.id
		}
		return path.Join("/", wished, b.id)
	}
	return path.Join("/", b.id)
}

// injectDevices adds the devices asked for. Those that may be absent are tried one by one.
func (b *box) injectDevices(doc *specs.Spec) error {
	for _, d := range b.devices {
		err := invalid("device %s: this host describes no devices", d.Name)
		if b.runner.parts.Devices != nil {
			err = b.runner.parts.Devices.Inject(doc, []ct.DeviceRequest{{Driver: "cdi", DeviceIDs: []string{d.Name}}})
		}
		if err != nil && !d.Optional {
			return err
		}
	}
	return nil
}

// proxies are the variables of a proxy setting, which are in the environment and in no key.
func proxies(p *pb.ProxyEnv) (env []string) {
	for _, v := range []struct{ name, value string }{
		{"HTTP_PROXY", p.GetHttpProxy()}, {"HTTPS_PROXY", p.GetHttpsProxy()}, {"FTP_PROXY", p.GetFtpProxy()},
		{"NO_PROXY", p.GetNoProxy()}, {"ALL_PROXY", p.GetAllProxy()},
	} {
		if v.value != "" {
			env = append(env, v.name+"="+v.value, strings.ToLower(v.name)+"="+v.value)
		}
	}
	return env
}
