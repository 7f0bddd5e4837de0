package commandline

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"
	"github.com/spf13/pflag"

	"github.com/cove-containers/cove/cli/opts"
)

// typed reads a command line as run does, and gives the container a daemon without defaults would show.
func typed(t *testing.T, args []string) container.InspectResponse {
	t.Helper()
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	fs.SetInterspersed(false)
	var c opts.Container
	c.AddFlags(fs)
	detach := fs.BoolP("detach", "d", false, "")
	name := fs.String("name", "", "")
	if err := fs.Parse(args); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	s, err := c.Build(fs, fs.Arg(0), fs.Args()[1:])
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	if *detach {
		s.Config.AttachStdin, s.Config.AttachStdout, s.Config.AttachStderr, s.Config.StdinOnce = false, false, false, false
	}
	if slices.Equal(s.Config.Entrypoint, []string{""}) {
		s.Config.Entrypoint = nil
	}
	if *s.HostConfig.MemorySwappiness == -1 {
		s.HostConfig.MemorySwappiness = nil
	}
	return container.InspectResponse{
		ID: "0123456789abcdef", Name: "/" + *name, Image: "sha256:01", Config: s.Config, HostConfig: s.HostConfig,
		NetworkSettings: &container.NetworkSettings{Networks: s.Networking.EndpointsConfig},
	}
}

// TestTheLineMakesTheSame reads command lines, writes them from what they made, and reads what was written.
func TestTheLineMakesTheSame(t *testing.T) {
	for _, args := range [][]string{
		{"b"},
		{"--name", "n", "-dit", "--rm", "b", "sh", "-c", `echo "$HOME" 'x'`},
		{"-i", "-a", "stdout", "b"},
		{"-a", "stdin", "-a", "stderr", "b"},
		{"-i", "b", "-v", "--rm"},
		{"--entrypoint", "", "b", "x"},
		{"--entrypoint", "/bin/a b", "b", "", "x\ny"},
		{"--restart", "always", "--init", "--runtime", "runc", "--stop-signal", "INT", "--stop-timeout", "0", "b"},
		{"--restart", "on-failure:3", "--init=false", "b"},
		{"-u", "1:2", "-w", "/a b", "--group-add", "3", "--group-add", "wheel", "-h", "x", "--domainname", "y", "b"},
		{"-e", "A=1", "-e", "B=a 'b' \"c\" $d", "-e", "NOT_SET_ANYWHERE", "-e", "C=", "-l", "k=v=w", "-l", "empty", "--annotation", "a=b", "b"},
		{"-p", "80", "-p", "8080:80/udp", "-p", "127.0.0.1::81", "-p", "[::1]:82:82", "-p", "9000-9001:90-91/sctp", "-p", "7000-7005:70", "--expose", "5000", "--expose", "53/udp", "-P", "b"},
		{"-p", "80:80", "-p", "81:80", "b"},
		{"-v", "/a", "-v", "vol:/b:ro", "-v", "/h:/c:rslave,z", "--tmpfs", "/t", "--tmpfs", "/u:size=1m,mode=755", "--volumes-from", "x:ro", "--volume-driver", "local", "b"},
		{"--mount", "type=bind,src=/a,dst=/b,readonly,bind-propagation=rprivate,bind-recursive=readonly", "--mount", "type=volume,src=v,dst=/v,volume-nocopy,volume-subpath=s,volume-driver=local,volume-opt=o=a,volume-label=l=1", "b"},
		{"--mount", `type=tmpfs,dst=/x,tmpfs-size=10m,tmpfs-mode=1770`, "--mount", `type=volume,src=v,dst=/q,"volume-opt=o=addr=1.2.3.4,rw"`, "--mount", "type=image,src=i,dst=/i,image-subpath=p", "b"},
		{"--network", "host", "b"}, {"--network", "none", "b"}, {"--network", "container:x", "b"},
		{"--network", "n", "--network-alias", "a", "--ip", "10.1.2.3", "--mac-address", "92:d0:c6:0a:29:33", "--link", "o:p", "b"},
		{"--network", "name=n,alias=a,alias=b,ip6=2001:db8::1,driver-opt=a.b=c,gw-priority=5,link-local-ip=169.254.1.1", "--network", "m", "b"},
		{"--link", "o:p", "--dns", "1.1.1.1", "--dns-opt", "ndots:2", "--dns-search", "example.com", "--add-host", "h:1.2.3.4", "--add-host", "g:host-gateway", "b"},
		{"--privileged", "b"},
		{"--cap-add", "net_admin", "--cap-add", "ALL", "--cap-drop", "CHOWN", "--read-only", "--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges", "--security-opt", "systempaths=unconfined", "b"},
		{"--pid", "host", "--ipc", "shareable", "--uts", "host", "--userns", "host", "--cgroupns", "host", "--cgroup-parent", "/x", "--sysctl", "net.core.somaxconn=1024", "b"},
		{"-m", "100m", "--memory-swap", "-1", "--memory-reservation", "1000", "--memory-swappiness", "0", "--oom-kill-disable", "--oom-score-adj", "-5", "--shm-size", "1g", "--pids-limit", "100", "--ulimit", "nofile=1024:2048", "--ulimit", "core=-1", "b"},
		{"-m", "100m", "--memory-swap", "150m", "--pids-limit", "-1", "b"},
		{"--cpus", "1.25", "-c", "512", "--cpuset-cpus", "0-1", "--cpuset-mems", "0", "b"},
		{"--cpus", "0.000000001", "--cpu-period", "100000", "--cpu-quota", "-1", "--cpu-rt-period", "5", "--cpu-rt-runtime", "4", "b"},
		{"--device", "/dev/null", "--device", "/dev/zero:/dev/z:r", "--device", "/dev/full:/dev/f", "--device", "vendor.com/class=name", "--device-cgroup-rule", "c 1:3 rwm", "b"},
		{"--blkio-weight", "100", "--blkio-weight-device", "/dev/sda:200", "--device-read-bps", "/dev/sda:1mb", "--device-write-iops", "/dev/sda:1000", "--storage-opt", "size=1G", "b"},
		{"--log-driver", "local", "--log-opt", "max-size=1k", "--log-opt", "max-file=2", "b"},
		{"--health-cmd", "curl -f 'x' || exit 1", "--health-interval", "1m30s", "--health-timeout", "1s", "--health-retries", "2", "--health-start-period", "5s", "--health-start-interval", "500ms", "b"},
		{"--no-healthcheck", "b"},
	} {
		made := typed(t, args)
		line := Of(made, Known{Image: &image.InspectResponse{}}, Wishes{})
		again := typed(t, line.Args())
		want, _ := json.Marshal(made)
		got, _ := json.Marshal(again)
		if string(got) != string(want) {
			t.Errorf("%q became %q\n got %s\nwant %s", args, line.Args(), got, want)
		}
		if len(line.Notes) > 0 {
			t.Errorf("%q: %q", args, line.Notes)
		}
	}
}

// TestWhatIsThereAnywayIsNotSaid: the settings of image and daemon, and what nobody chose.
func TestWhatIsThereAnywayIsNotSaid(t *testing.T) {
	var img image.InspectResponse
	err := json.Unmarshal([]byte(`{"Architecture":"amd64","Config":{"Env":["PATH=/bin","V=1"],"Cmd":["serve"],"Entrypoint":["/e","-x"],"User":"app","WorkingDir":"/srv",
		"StopSignal":"SIGINT","Labels":{"a":"1"},"Volumes":{"/data":{}},"ExposedPorts":{"80/tcp":{},"90-91/udp":{}},"Healthcheck":{"Test":["CMD","true"],"Retries":2}}}`), &img)
	if err != nil {
		t.Fatal(err)
	}
	known := Known{Image: &img, Daemon: system.Info{DefaultRuntime: "cove", LoggingDriver: "json-file", Name: "box"}}
	ports := network.PortSet{}
	for _, p := range []string{"80/tcp", "90/udp", "91/udp"} {
		ports[network.MustParsePort(p)] = struct{}{}
	}
	base := func() container.InspectResponse {
		swap := int64(0)
		return container.InspectResponse{
			ID: "0123456789abcdef", Name: "/c", Image: "sha256:01",
			Config: &container.Config{
				Hostname: "0123456789ab", User: "app", AttachStdout: true, AttachStderr: true, Env: []string{"PATH=/bin", "V=1"}, Cmd: []string{"serve"},
				Image: "i:1", WorkingDir: "/srv", Entrypoint: []string{"/e", "-x"}, Labels: map[string]string{"a": "1"}, StopSignal: "SIGINT", ExposedPorts: ports,
				Volumes: map[string]struct{}{"/data": {}}, Healthcheck: img.Config.Healthcheck,
			},
			HostConfig: &container.HostConfig{
				NetworkMode: "bridge", IpcMode: "private", CgroupnsMode: "private", ShmSize: 64 << 20, Runtime: "cove", LogConfig: container.LogConfig{Type: "json-file"},
				RestartPolicy: container.RestartPolicy{Name: "no"}, MaskedPaths: []string{"/proc/kcore"}, ReadonlyPaths: []string{"/proc/bus"},
				Resources: container.Resources{Memory: 1 << 20, MemorySwap: 2 << 20, PidsLimit: &swap},
			},
			Mounts: []container.MountPoint{{Type: mount.TypeVolume, Name: strings.Repeat("a", 64), Destination: "/data"}},
		}
	}
	for name, test := range map[string]struct {
		change func(*container.InspectResponse)
		wishes Wishes
		want   string
	}{
		"nothing":           {func(*container.InspectResponse) {}, Wishes{}, "cove run --name c --memory 1m i:1"},
		"pinned":            {func(*container.InspectResponse) {}, Wishes{Pin: true}, "cove run --name c --memory 1m sha256:01"},
		"the very volumes":  {func(*container.InspectResponse) {}, Wishes{SameVolumes: true}, "cove run --name c -v " + strings.Repeat("a", 64) + ":/data --memory 1m i:1"},
		"other arguments":   {func(c *container.InspectResponse) { c.Config.Cmd = []string{"x y"} }, Wishes{}, "cove run --name c --memory 1m i:1 'x y'"},
		"no arguments":      {func(c *container.InspectResponse) { c.Config.Cmd = nil }, Wishes{}, "cove run --name c --memory 1m --entrypoint /e i:1 -x"},
		"no entry point":    {func(c *container.InspectResponse) { c.Config.Entrypoint, c.Config.Cmd = nil, []string{"sh"} }, Wishes{}, "cove run --name c --memory 1m --entrypoint '' i:1 sh"},
		"another variable":  {func(c *container.InspectResponse) { c.Config.Env = []string{"V=2", "PATH=/bin"} }, Wishes{}, "cove run --name c -e V=2 --memory 1m i:1"},
		"the host's name":   {func(c *container.InspectResponse) { c.HostConfig.NetworkMode, c.Config.Hostname = "host", "box" }, Wishes{}, "cove run --name c --network host --memory 1m i:1"},
		"another signal":    {func(c *container.InspectResponse) { c.Config.StopSignal = "SIGTERM" }, Wishes{}, "cove run --name c --stop-signal SIGTERM --memory 1m i:1"},
		"a bind over it":    {func(c *container.InspectResponse) { c.HostConfig.Binds = []string{"v:/data"} }, Wishes{SameVolumes: true}, "cove run --name c -v v:/data --memory 1m i:1"},
		"bridge and aliens": {func(c *container.InspectResponse) { c.HostConfig.Runtime = "runsc" }, Wishes{}, "cove run --name c --runtime runsc --memory 1m i:1"},
		"a slower check": {func(c *container.InspectResponse) {
			c.Config.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "true"}, Retries: 3}
		}, Wishes{}, "cove run --name c --memory 1m --health-retries 3 i:1"},
	} {
		c := base()
		test.change(&c)
		line := Of(c, known, test.wishes)
		if got := line.Text([]string{"cove", "run"}, false); got != test.want || len(line.Notes) > 0 {
			t.Errorf("%s:\n got %s %q\nwant %s", name, got, line.Notes, test.want)
		}
	}
	c := base()
	c.Config.Env = nil
	pretty := Of(c, known, Wishes{}).Text([]string{"docker", "run"}, true)
	if want := "docker run \\\n  --name c \\\n  --memory 1m \\\n  i:1"; pretty != want {
		t.Errorf("got %s", pretty)
	}
	c.Config.Env, c.Config.Healthcheck = []string{"PATH=/bin"}, nil
	without := Of(c, Known{Daemon: known.Daemon}, Wishes{})
	text := without.Text([]string{"cove", "run"}, false)
	if len(without.Notes) != 1 || !strings.Contains(text, "-e PATH=/bin") || !strings.HasSuffix(text, "--entrypoint /e i:1 -x serve") {
		t.Errorf("without its image: %s %q", text, without.Notes)
	}
}

// TestNotes: what no option says is not passed over in silence.
func TestNotes(t *testing.T) {
	mask := uint32(0o27)
	for word, c := range map[string]container.InspectResponse{
		"umask":           {HostConfig: &container.HostConfig{Umask: &mask}},
		"seccomp profile": {HostConfig: &container.HostConfig{SecurityOpt: []string{`seccomp={"a":1}`}}},
		"health check":    {Config: &container.Config{Healthcheck: &container.HealthConfig{Test: []string{"CMD", "a b"}}}},
		"nvidia":          {HostConfig: &container.HostConfig{Resources: container.Resources{DeviceRequests: []container.DeviceRequest{{Driver: "nvidia"}}}}},
		"is gone":         {Image: "sha256:01"},
	} {
		known := Known{Image: &image.InspectResponse{}}
		if c.Image != "" {
			known.Image = nil
		}
		if notes := Of(c, known, Wishes{}).Notes; len(notes) != 1 || !strings.Contains(notes[0], word) {
			t.Errorf("%s: %q", word, notes)
		}
	}
}

// TestQuote has a shell read the words back.
func TestQuote(t *testing.T) {
	words := []string{"plain-1.2_a=b:c/d@e%f,+", "", "a b", "it's", `"$HOME" \ *`, "~", "#x", "a\nb", "!", "{a,b}", "é", "-n", "=x", "a;b|c&d<e>f(g)"}
	out, err := exec.Command("sh", "-c", "for w in "+Quote(words)+`; do printf '%s\0' "$w"; done`).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); !slices.Equal(got, words) {
		t.Errorf("got %q", got)
	}
	if Quote([]string{"a=b", "/c:d"}) != "a=b /c:d" {
		t.Error("what needs no quotes has some")
	}
}
