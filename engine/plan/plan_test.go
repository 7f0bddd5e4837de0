package plan

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/blkiodev"
	ct "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	nt "github.com/moby/moby/api/types/network"
)

func TestMergeCommand(t *testing.T) {
	image := &ct.Config{Entrypoint: []string{"/entry"}, Cmd: []string{"default"}}
	for _, tt := range []struct {
		name    string
		request ct.Config
		want    []string
	}{
		{"nothing given", ct.Config{}, []string{"/entry", "default"}},
		{"arguments", ct.Config{Cmd: []string{"a", "b"}}, []string{"/entry", "a", "b"}},
		{"an entry point drops the arguments", ct.Config{Entrypoint: []string{"/other"}}, []string{"/other"}},
		{"both", ct.Config{Entrypoint: []string{"/other"}, Cmd: []string{"a"}}, []string{"/other", "a"}},
		{"an empty entry point clears it", ct.Config{Entrypoint: []string{""}, Cmd: []string{"a"}}, []string{"a"}},
		{"an empty list clears it too", ct.Config{Entrypoint: []string{}, Cmd: []string{"a"}}, []string{"a"}},
	} {
		program, args, ok := Command(Merge(&tt.request, image))
		if !ok || !slices.Equal(append([]string{program}, args...), tt.want) {
			t.Errorf("%s: %q %q %v, want %q", tt.name, program, args, ok, tt.want)
		}
	}
	if _, _, ok := Command(Merge(&ct.Config{Entrypoint: []string{""}}, &ct.Config{})); ok {
		t.Error("a command out of nothing")
	}
}

func TestMergeEnv(t *testing.T) {
	got := Merge(&ct.Config{Env: []string{"P=3", "X=1", "Y"}}, &ct.Config{Env: []string{"Y=9", "P=1", "Z=2"}}).Env
	if want := []string{"P=3", "X=1", "Y", "Z=2"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestMergeRest(t *testing.T) {
	image := &ct.Config{
		User: "bob", WorkingDir: "/srv//x/", StopSignal: "SIGINT", Labels: map[string]string{"a": "1", "b": "2"},
		Volumes: map[string]struct{}{"/v": {}}, ExposedPorts: nt.PortSet{nt.MustParsePort("80/tcp"): {}},
		Healthcheck: &ct.HealthConfig{Test: []string{"CMD", "x"}, Interval: time.Second, Retries: 4},
	}
	request := &ct.Config{
		Labels: map[string]string{"b": "3"}, Volumes: map[string]struct{}{"/w": {}},
		Healthcheck: &ct.HealthConfig{Retries: 2},
	}
	c := Merge(request, image)
	if c.User != "bob" || c.WorkingDir != "/srv/x" || c.StopSignal != "SIGINT" || c.Labels["a"] != "1" || c.Labels["b"] != "3" {
		t.Errorf("%+v", c)
	}
	if len(c.Volumes) != 2 || len(c.ExposedPorts) != 1 {
		t.Errorf("volumes %v, ports %v", c.Volumes, c.ExposedPorts)
	}
	if h := c.Healthcheck; h.Test[1] != "x" || h.Interval != time.Second || h.Retries != 2 {
		t.Errorf("health check %+v", h)
	}
	if len(request.Volumes) != 1 || len(image.Labels) != 2 || image.Labels["b"] != "2" {
		t.Error("merging changed what it was given")
	}
}

func ptr[T any](v T) *T { return &v }

func TestValidate(t *testing.T) {
	host := Host{CPUs: 2, Cpus: "0-1", Mems: "0", Runtimes: []string{"cove"}}
	port := nt.MustParsePort("80/tcp")
	for _, tt := range []struct {
		change func(*ct.Config, *ct.HostConfig)
		want   string
	}{
		{func(c *ct.Config, h *ct.HostConfig) {}, ""},
		{func(c *ct.Config, h *ct.HostConfig) { c.Cmd = nil }, "no command specified"},
		{func(c *ct.Config, h *ct.HostConfig) { c.WorkingDir = "rel" }, "the working directory 'rel' is invalid, it needs to be an absolute path"},
		{func(c *ct.Config, h *ct.HostConfig) { c.StopSignal = "NOPE" }, "invalid signal: NOPE"},
		{func(c *ct.Config, h *ct.HostConfig) { c.StopSignal = "SIGRTMIN+3" }, ""},
		{func(c *ct.Config, h *ct.HostConfig) { c.Env = []string{"=x"} }, "invalid environment variable: =x"},
		{func(c *ct.Config, h *ct.HostConfig) { c.Healthcheck = &ct.HealthConfig{Interval: 3} }, "Interval in Healthcheck cannot be less than 1ms"},
		{func(c *ct.Config, h *ct.HostConfig) { c.Healthcheck = &ct.HealthConfig{Retries: -1} }, "Retries in Healthcheck cannot be negative"},
		{func(c *ct.Config, h *ct.HostConfig) { h.AutoRemove = true; h.RestartPolicy.Name = "always" }, "can't create 'AutoRemove' container with restart policy"},
		{func(c *ct.Config, h *ct.HostConfig) { h.RestartPolicy.Name = "sometimes" }, "invalid restart policy: unknown policy 'sometimes'"},
		{func(c *ct.Config, h *ct.HostConfig) {
			h.RestartPolicy.Name = "always"
			h.RestartPolicy.MaximumRetryCount = 2
		}, "maximum retry count can only be used with 'on-failure'"},
		{func(c *ct.Config, h *ct.HostConfig) { h.IpcMode = "bad" }, "invalid IPC mode: bad"},
		{func(c *ct.Config, h *ct.HostConfig) { h.PidMode = "container:" }, "invalid PID mode: container:"},
		{func(c *ct.Config, h *ct.HostConfig) { h.UTSMode = "bad" }, "invalid UTS mode: bad"},
		{func(c *ct.Config, h *ct.HostConfig) { h.ShmSize = -1 }, "SHM size can not be less than 0"},
		{func(c *ct.Config, h *ct.HostConfig) { h.OomScoreAdj = 1001 }, "Invalid value 1001, range for oom score adj is [-1000, 1000]"},
		{func(c *ct.Config, h *ct.HostConfig) { h.Runtime = "nope" }, "unknown or invalid runtime name: nope"},
		{func(c *ct.Config, h *ct.HostConfig) { h.CapAdd = []string{"NOPE"} }, "unknown capability: \"CAP_NOPE\""},
		{func(c *ct.Config, h *ct.HostConfig) { h.SecurityOpt = []string{"bad"} }, "invalid --security-opt 1: \"bad\""},
		{func(c *ct.Config, h *ct.HostConfig) { h.Ulimits = []*ct.Ulimit{{Name: "nofile", Soft: 2, Hard: 1}} }, "soft limit must be less than or equal to hard limit: 2 > 1"},
		{func(c *ct.Config, h *ct.HostConfig) { h.Ulimits = []*ct.Ulimit{{Name: "nofile", Soft: 2, Hard: -1}} }, ""},
		{func(c *ct.Config, h *ct.HostConfig) { h.Ulimits = []*ct.Ulimit{{Name: "nope"}} }, "invalid ulimit type: nope"},
		{func(c *ct.Config, h *ct.HostConfig) { h.Sysctls = map[string]string{"kernel.panic": "1"} }, "sysctl \"kernel.panic\" is not in a separate kernel namespace"},
		{func(c *ct.Config, h *ct.HostConfig) { h.Sysctls = map[string]string{"net.ipv4.ip_forward": "1"} }, ""},
		{func(c *ct.Config, h *ct.HostConfig) {
			h.Sysctls = map[string]string{"net.ipv4.ip_forward": "1"}
			h.NetworkMode = "host"
		}, "not allowed in host network namespace"},
		{func(c *ct.Config, h *ct.HostConfig) { h.ExtraHosts = []string{"a:nowhere"} }, "invalid IP address in add-host: \"nowhere\""},
		{func(c *ct.Config, h *ct.HostConfig) { h.ExtraHosts = []string{"a:[::1]", "b:host-gateway"} }, ""},
		{func(c *ct.Config, h *ct.HostConfig) { h.ExtraHosts = []string{"a b:1.1.1.1"} }, "bad format for add-host: \"a b:1.1.1.1\""},
		{func(c *ct.Config, h *ct.HostConfig) { h.ExtraHosts = []string{"a=b:1.1.1.1"} }, "bad format for add-host: \"a=b:1.1.1.1\""},
		{func(c *ct.Config, h *ct.HostConfig) { h.ExtraHosts = []string{"a\n1.1.1.1 b:1.1.1.1"} }, "bad format for add-host"},
		{func(c *ct.Config, h *ct.HostConfig) { h.PortBindings = nt.PortMap{port: {{HostPort: "x"}}} }, "invalid port specification: \"x\""},
		{func(c *ct.Config, h *ct.HostConfig) { h.Memory = 5 << 20 }, "Minimum memory limit allowed is 6MB"},
		{func(c *ct.Config, h *ct.HostConfig) { h.Memory = 10 << 20; h.MemorySwap = 9 << 20 }, "Minimum memoryswap limit should be larger than memory limit, see usage"},
		{func(c *ct.Config, h *ct.HostConfig) { h.MemorySwap = 9 << 20 }, "You should always set the Memory limit when using Memoryswap limit, see usage"},
		{func(c *ct.Config, h *ct.HostConfig) { h.Memory = 10 << 20; h.MemoryReservation = 11 << 20 }, "Minimum memory limit can not be less than memory reservation limit"},
		{func(c *ct.Config, h *ct.HostConfig) { h.MemorySwappiness = ptr[int64](101) }, "valid memory swappiness range is 0-100"},
		{func(c *ct.Config, h *ct.HostConfig) { h.NanoCPUs = 3e9 }, "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"},
		{func(c *ct.Config, h *ct.HostConfig) { h.NanoCPUs = 1e9; h.CPUPeriod = 1000 }, "Nano CPUs and CPU Period cannot both be set"},
		{func(c *ct.Config, h *ct.HostConfig) { h.CpusetCpus = "0,7" }, "Requested CPUs are not available - requested 0,7, available: 0-1"},
		{func(c *ct.Config, h *ct.HostConfig) { h.CpusetCpus = "1-0" }, "Invalid value 1-0 for cpuset cpus"},
		{func(c *ct.Config, h *ct.HostConfig) { h.CpusetMems = "3" }, "Requested memory nodes are not available"},
		{func(c *ct.Config, h *ct.HostConfig) { h.BlkioWeight = 5 }, "Range of blkio weight is from 10 to 1000"},
		// Networks of others.
		{func(c *ct.Config, h *ct.HostConfig) { h.NetworkMode = "container:p" }, ""},
		{func(c *ct.Config, h *ct.HostConfig) { h.NetworkMode = "container:p"; c.Hostname = "x" }, "conflicting options: hostname and the network mode"},
		{func(c *ct.Config, h *ct.HostConfig) {
			h.NetworkMode = "container:p"
			h.PortBindings = nt.PortMap{port: nil}
		}, "conflicting options: port publishing and the container type network mode"},
		{func(c *ct.Config, h *ct.HostConfig) {
			h.NetworkMode = "container:p"
			c.ExposedPorts = nt.PortSet{port: {}}
		}, "conflicting options: port exposing and the container type network mode"},
		{func(c *ct.Config, h *ct.HostConfig) {
			h.NetworkMode = "container:p"
			h.ExtraHosts = []string{"a:1.1.1.1"}
		}, "conflicting options: custom host-to-IP mapping and the network mode"},
		{func(c *ct.Config, h *ct.HostConfig) {
			h.NetworkMode = "container:p"
			h.DNS = []netip.Addr{netip.MustParseAddr("1.1.1.1")}
		}, "conflicting options: dns and the network mode"},
		{func(c *ct.Config, h *ct.HostConfig) { h.NetworkMode = "container:p"; h.Links = []string{"a:b"} }, "conflicting options: container type network can't be used with links"},
		{func(c *ct.Config, h *ct.HostConfig) { h.UTSMode = "host"; c.Hostname = "x" }, "conflicting options: hostname and the UTS mode"},
	} {
		c, h := &ct.Config{Cmd: []string{"true"}}, &ct.HostConfig{NetworkMode: "bridge"}
		tt.change(c, h)
		_, err := Validate(c, h, host)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("refused: %v", err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%v, want %q", err, tt.want)
		case err != nil && !errdefs.IsInvalidArgument(err):
			t.Errorf("%v is of the wrong kind", err)
		}
	}
}

func TestWarnings(t *testing.T) {
	port := nt.MustParsePort("80/tcp")
	h := &ct.HostConfig{NetworkMode: "host", PortBindings: nt.PortMap{port: nil}, Resources: ct.Resources{OomKillDisable: ptr(true)}}
	warnings, err := Validate(&ct.Config{Cmd: []string{"true"}}, h, Host{CPUs: 1})
	if err != nil || len(warnings) != 2 || !strings.Contains(strings.Join(warnings, "\n"), "Published ports are discarded when using host network mode") {
		t.Errorf("%q, %v", warnings, err)
	}
}

func TestMounts(t *testing.T) {
	absent := t.TempDir() + "/absent"
	here := t.TempDir()
	for _, tt := range []struct {
		name  string
		image []string
		h     ct.HostConfig
		want  string // target=kind:source, sorted by target
		fails string
	}{
		{name: "bind and volume", h: ct.HostConfig{Binds: []string{"/a:/x:ro", "v:/y"}}, want: "/x=bind:/a:ro /y=volume:v"},
		{name: "two sources on one target", h: ct.HostConfig{Binds: []string{"/a:/x", "/b:/x"}}, fails: "Duplicate mount point: /x"},
		{name: "the same twice", h: ct.HostConfig{Binds: []string{"/a:/x", "/a:/x"}}, want: "/x=bind:/a"},
		{name: "target written in two ways", h: ct.HostConfig{Binds: []string{"/a:/x/", "/b:/x"}}, fails: "Duplicate mount point: /x"},
		{name: "no target", h: ct.HostConfig{Binds: []string{"/a:"}}, fails: "invalid volume specification: '/a:'"},
		{name: "root", h: ct.HostConfig{Binds: []string{"/a:/"}}, fails: "destination can't be '/'"},
		{name: "relative target", h: ct.HostConfig{Binds: []string{"/a:x"}}, fails: "mount path must be absolute"},
		{name: "mode instead of target", h: ct.HostConfig{Binds: []string{"/a:ro"}}, fails: "invalid volume specification: '/a:ro'"},
		{name: "bad mode", h: ct.HostConfig{Binds: []string{"/a:/x:nope"}}, fails: "invalid mode: nope"},
		{name: "mode twice", h: ct.HostConfig{Binds: []string{"/a:/x:ro,rw"}}, fails: "invalid mode: ro,rw"},
		{name: "nocopy is for volumes", h: ct.HostConfig{Binds: []string{"/a:/x:nocopy"}}, fails: "field VolumeOptions must not be specified"},
		{name: "too many colons", h: ct.HostConfig{Binds: []string{"/a:/x:ro:z"}}, fails: "invalid volume specification"},
		{name: "image volume", image: []string{"/v/", "/w"}, h: ct.HostConfig{Binds: []string{"n:/w"}}, want: "/v=volume:(new) /w=volume:n"},
		{name: "a name that looks like a drive", image: []string{"v:/x:ro", "/y"}, want: "/x=volume:v:ro /y=volume:(new)"},
		{name: "tmpfs hides an image volume", image: []string{"/t"}, h: ct.HostConfig{Tmpfs: map[string]string{"/t": "size=1m"}}, want: "/t=tmpfs:"},
		{name: "bad tmpfs option", h: ct.HostConfig{Tmpfs: map[string]string{"/t": "speed=9"}}, fails: `invalid tmpfs option ["speed" "9"]`},
		{name: "bind and tmpfs", h: ct.HostConfig{Binds: []string{"/a:/t"}, Tmpfs: map[string]string{"/t": ""}}, fails: "Duplicate mount point: /t"},
		{name: "mount of an absent source", h: mounts(mount.Mount{Type: "bind", Source: absent, Target: "/x"}), fails: "bind source path does not exist: " + absent},
		{name: "mount", h: mounts(mount.Mount{Type: "bind", Source: here, Target: "/x", ReadOnly: true}), want: "/x=bind:" + here + ":ro"},
		{name: "unknown type", h: mounts(mount.Mount{Type: "nope", Target: "/x"}), fails: "mount type unknown"},
		{name: "no target", h: mounts(mount.Mount{Type: "volume"}), fails: `invalid mount config for type "volume": field Target must not be empty`},
		{name: "tmpfs with a source", h: mounts(mount.Mount{Type: "tmpfs", Source: "a", Target: "/x"}), fails: "field Source must not be specified"},
		{name: "foreign options", h: mounts(mount.Mount{Type: "tmpfs", Target: "/x", BindOptions: &mount.BindOptions{}}), fails: "field BindOptions must not be specified"},
		{name: "read-only anonymous volume", h: mounts(mount.Mount{Type: "volume", Target: "/x", ReadOnly: true}), fails: "must not set ReadOnly mode when using anonymous volumes"},
		{name: "climbing subpath", h: mounts(mount.Mount{Type: "volume", Source: "v", Target: "/x", VolumeOptions: &mount.VolumeOptions{Subpath: "../a"}}), fails: "subpath must be a relative path within the volume"},
		{name: "relative source", h: mounts(mount.Mount{Type: "bind", Source: "rel", Target: "/x"}), fails: "mount path must be absolute"},
	} {
		c := &ct.Config{Volumes: map[string]struct{}{}}
		for _, v := range tt.image {
			c.Volumes[v] = struct{}{}
		}
		got, err := Mounts(c, &tt.h, nil)
		if tt.fails != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.fails)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if text := describe(got); text != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, text, tt.want)
		}
	}
}

func mounts(m mount.Mount) ct.HostConfig { return ct.HostConfig{Mounts: []mount.Mount{m}} }

func describe(all []Mount) string {
	var out []string
	for _, m := range all {
		source := m.Source
		if m.Type == mount.TypeVolume {
			source = or(m.Name, "(new)")
		}
		text := m.Target + "=" + string(m.Type) + ":" + source
		if !m.RW {
			text += ":ro"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestCopyUp(t *testing.T) {
	h := &ct.HostConfig{
		Binds:  []string{"a:/a", "b:/b:nocopy", "/c:/c"},
		Mounts: []mount.Mount{{Type: "volume", Source: "d", Target: "/d"}, {Type: "volume", Source: "e", Target: "/e", VolumeOptions: &mount.VolumeOptions{NoCopy: true}}},
	}
	got, err := Mounts(&ct.Config{Volumes: map[string]struct{}{"/f": {}}}, h, nil)
	if err != nil {
		t.Fatal(err)
	}
	var copied []string
	for _, m := range got {
		if m.CopyUp {
			copied = append(copied, m.Target)
		}
	}
	if want := []string{"/a", "/d", "/f"}; !slices.Equal(copied, want) {
		t.Errorf("%q, want %q", copied, want)
	}
}

func TestTmpfsOptions(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "noexec nosuid nodev",
		"exec,size=1m,mode=700":    "nosuid nodev exec size=1m mode=700",
		"size=1m,size=2m":          "noexec nosuid nodev size=2m",
		"defaults,ro,exec,noexec":  "nosuid nodev ro noexec",
		"rw,uid=7,nr_inodes=9,dev": "noexec nosuid rw uid=7 nr_inodes=9 dev",
	} {
		got, err := FlagOptions(in)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
	got, err := TmpfsOptions(&mount.TmpfsOptions{SizeBytes: 4096, Mode: 0o1770, Options: [][]string{{"exec"}, {"uid", "3"}}}, true)
	if want := "nosuid nodev exec uid=3 size=4096 mode=1770 ro"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("%q %v", got, err)
	}
}

func TestVolumesFrom(t *testing.T) {
	for in, want := range map[string]string{"a": "a false", "a:ro": "a true", "a:rw": "a false", "": "error", "a:nope": "error", "a:nocopy": "error"} {
		ref, readOnly, err := VolumesFrom(in)
		got := ref + " " + map[bool]string{true: "true", false: "false"}[readOnly]
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestRestartPolicies(t *testing.T) {
	policy := func(name ct.RestartPolicyMode, most int) ct.RestartPolicy {
		return ct.RestartPolicy{Name: name, MaximumRetryCount: most}
	}
	for _, tt := range []struct {
		policy      ct.RestartPolicy
		code, count int
		want        bool
	}{
		{policy("no", 0), 1, 0, false}, {policy("", 0), 1, 0, false}, {policy("always", 0), 0, 99, true},
		{policy("unless-stopped", 0), 0, 1, true}, {policy("on-failure", 0), 0, 0, false}, {policy("on-failure", 0), 3, 50, true},
		{policy("on-failure", 2), 3, 1, true}, {policy("on-failure", 2), 3, 2, false},
	} {
		if got := Again(tt.policy, tt.code, tt.count); got != tt.want {
			t.Errorf("Again(%v, %d, %d) = %v", tt.policy, tt.code, tt.count, got)
		}
	}
	for _, tt := range []struct {
		policy          ct.RestartPolicy
		started, byHand bool
		want            bool
	}{
		{policy("always", 0), true, true, true}, {policy("always", 0), false, false, false},
		{policy("unless-stopped", 0), true, true, false}, {policy("unless-stopped", 0), true, false, true},
		{policy("on-failure", 0), true, true, false}, {policy("no", 0), true, false, false},
	} {
		if got := AtBoot(tt.policy, tt.started, tt.byHand, 1, 0); got != tt.want {
			t.Errorf("AtBoot(%v, %v, %v) = %v", tt.policy, tt.started, tt.byHand, got)
		}
	}
}

func TestPause(t *testing.T) {
	var last time.Duration
	var got []time.Duration
	for range 4 {
		last = Pause(last, time.Second)
		got = append(got, last/time.Millisecond)
	}
	if want := []time.Duration{100, 200, 400, 800}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if Pause(time.Minute, time.Second) != time.Minute || Pause(time.Minute, 11*time.Second) != 100*time.Millisecond {
		t.Error("the longest pause, or the first after a long run")
	}
}

func TestHealth(t *testing.T) {
	c := &ct.Config{Shell: []string{"/bin/bash", "-c"}, Healthcheck: &ct.HealthConfig{
		Test: []string{"CMD-SHELL", "exit 0"}, StartPeriod: time.Minute, Retries: 2,
	}}
	p, ok := HealthProbe(c)
	if !ok || !slices.Equal(p.Args, []string{"/bin/bash", "-c", "exit 0"}) || p.Interval != 30*time.Second || p.Retries != 2 {
		t.Fatalf("%+v", p)
	}
	if p.Wait(ct.Starting, time.Second) != 5*time.Second || p.Wait(ct.Healthy, time.Second) != 30*time.Second || p.Wait(ct.Starting, 2*time.Minute) != 30*time.Second {
		t.Error("waits")
	}
	started := time.Now()
	at := func(after time.Duration, code int) *ct.HealthcheckResult {
		return &ct.HealthcheckResult{Start: started.Add(after), ExitCode: code}
	}
	h := &ct.Health{Status: ct.Starting}
	for i, tt := range []struct {
		result *ct.HealthcheckResult
		status ct.HealthStatus
		streak int
	}{
		{at(time.Second, 1), ct.Starting, 0}, // in the start period nothing counts
		{at(2*time.Second, 0), ct.Healthy, 0},
		{at(3*time.Second, 1), ct.Healthy, 1}, // a success has ended the start period
		{at(4*time.Second, 1), ct.Unhealthy, 2},
		{at(5*time.Second, 1), ct.Unhealthy, 3},
		{at(6*time.Second, 0), ct.Healthy, 0},
	} {
		h = p.Next(h, tt.result, started)
		if h.Status != tt.status || h.FailingStreak != tt.streak {
			t.Errorf("step %d: %s %d, want %s %d", i, h.Status, h.FailingStreak, tt.status, tt.streak)
		}
	}
	if len(h.Log) != 5 {
		t.Errorf("%d results kept", len(h.Log))
	}
	for _, test := range [][]string{nil, {"NONE"}, {"CMD"}} {
		if _, ok := HealthProbe(&ct.Config{Healthcheck: &ct.HealthConfig{Test: test}}); ok {
			t.Errorf("%q is a check", test)
		}
	}
}

func TestDetachKeys(t *testing.T) {
	for in, want := range map[string]string{"": "\x10\x11", "ctrl-a": "\x01", "a,b": "ab", "ctrl-@": "\x00", "ctrl-[": "\x1b", "ctrl-_,z": "\x1fz"} {
		got, err := DetachKeys(in)
		if err != nil || string(got) != want {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
	for _, in := range []string{"ctrl-", "ctrl-1", "abc", "a,,b"} {
		if _, err := DetachKeys(in); err == nil {
			t.Errorf("%q was accepted", in)
		}
	}
}

func TestDetachScanner(t *testing.T) {
	for _, tt := range []struct {
		typed    []string
		pass     string
		detached bool
		rest     string
	}{
		{[]string{"ls\n"}, "ls\n", false, ""},
		{[]string{"a\x10\x11b"}, "a", true, ""},
		{[]string{"a\x10", "\x11"}, "a", true, ""},
		{[]string{"\x10", "x"}, "\x10x", false, ""},
		{[]string{"\x10\x10\x11"}, "\x10", true, ""},
		{[]string{"q\x10"}, "q", false, "\x10"},
	} {
		d := DetachScanner{Keys: []byte{0x10, 0x11}}
		var pass []byte
		detached := false
		for _, typed := range tt.typed {
			p, done := d.Scan([]byte(typed))
			pass, detached = append(pass, p...), done
		}
		if string(pass) != tt.pass || detached != tt.detached || string(d.Rest()) != tt.rest {
			t.Errorf("%q: %q %v", tt.typed, pass, detached)
		}
	}
}

func TestUpdate(t *testing.T) {
	before := &ct.HostConfig{Resources: ct.Resources{Memory: 10 << 20, MemorySwap: 20 << 20, CPUPeriod: 1000}}
	h, err := Update(before, ct.UpdateConfig{Resources: ct.Resources{CPUShares: 7, PidsLimit: ptr[int64](5)}, RestartPolicy: ct.RestartPolicy{Name: "always"}})
	if err != nil || h.CPUShares != 7 || *h.PidsLimit != 5 || h.Memory != 10<<20 || h.RestartPolicy.Name != "always" {
		t.Errorf("%+v %v", h, err)
	}
	if before.CPUShares != 0 || before.RestartPolicy.Name != "" {
		t.Error("updating changed the settings before")
	}
	some, others := []*blkiodev.ThrottleDevice{{Path: "/dev/a", Rate: 1}}, []*blkiodev.ThrottleDevice{{Path: "/dev/b", Rate: 2}}
	throttled := &ct.HostConfig{Resources: ct.Resources{BlkioDeviceReadBps: some, BlkioDeviceWriteBps: some, BlkioDeviceReadIOps: some}}
	h, err = Update(throttled, ct.UpdateConfig{Resources: ct.Resources{BlkioDeviceWriteBps: others, BlkioDeviceReadIOps: []*blkiodev.ThrottleDevice{}}})
	if err != nil || !reflect.DeepEqual(h.BlkioDeviceReadBps, some) || !reflect.DeepEqual(h.BlkioDeviceWriteBps, others) || len(h.BlkioDeviceReadIOps) != 0 {
		t.Errorf("%+v %v", h, err)
	}
	for want, u := range map[string]ct.UpdateConfig{
		"Nano CPUs cannot be updated":                                      {Resources: ct.Resources{NanoCPUs: 1e9}},
		"Memory limit should be smaller than already set memoryswap limit": {Resources: ct.Resources{Memory: 30 << 20}},
		"invalid restart policy: unknown policy 'x'":                       {RestartPolicy: ct.RestartPolicy{Name: "x"}},
	} {
		if _, err := Update(before, u); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := Update(&ct.HostConfig{AutoRemove: true}, ct.UpdateConfig{RestartPolicy: ct.RestartPolicy{Name: "always"}}); !errdefs.IsConflict(err) {
		t.Errorf("a container that removes itself got a restart policy: %v", err)
	}
}

func FuzzParseBind(f *testing.F) {
	for _, s := range []string{"/a:/b:ro", "v:/x", "a:b:c:d", ":", "/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		m, err := parseBind(raw)
		if err == nil && (m.Target == "" || m.Target[0] != '/') {
			t.Errorf("%q: target %q", raw, m.Target)
		}
	})
}

func FuzzDetachScanner(f *testing.F) {
	f.Add([]byte("a\x10b\x10\x10"))
	f.Fuzz(func(t *testing.T, typed []byte) {
		d := DetachScanner{Keys: []byte{0x10, 0x11}}
		pass, detached := d.Scan(typed)
		if pass = append(pass, d.Rest()...); !detached && string(pass) != string(typed) {
			t.Errorf("%q became %q", typed, pass)
		}
	})
}

func FuzzParseSet(f *testing.F) {
	f.Add("0-2,7")
	f.Fuzz(func(t *testing.T, text string) { parseSet(text) })
}
