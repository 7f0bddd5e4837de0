package main

import (
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cove-containers/cove/network"
)

func withFile(t *testing.T, text string, args ...string) (*settings, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return readSettings(append([]string{"--config-file", path}, args...))
}

func TestFileAndFlags(t *testing.T) {
	s, err := withFile(t, `{
		"debug": true, "hosts": ["unix:///x.sock", "tcp://127.0.0.1:1"], "data-root": "/d", "mtu": 1400, "publish-allow": ["10.0.0.0/8", "192.0.2.1"],
		"log-opts": {"max-size": "1m", "max-file": "3"}, "insecure-registries": ["h:1"],
		"default-address-pools": [{"base": "10.0.0.0/8", "size": 24}],
		"runtimes": {"runc": {"path": "/usr/bin/runc"}, "youki": {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": "/usr/bin/youki"}}}, "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 64, "Hard": 128}},
		"max-concurrent-downloads": 3, "max-concurrent-uploads": 5, "dns": ["1.1.1.1"], "exec-opts": ["native.cgroupdriver=systemd"],
		"storage-opts": ["overlay2.size=1g"],
		"registry-listen": ["localhost"], "registry-htpasswd": "/h", "registry-token": true, "registry-gc-interval": "1h",
		"registry-quota": ["1GB", "team/**=2GB"],
		"default-network-opts": {"bridge": {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1", "a": "b=c"}}
	}`, "--exec-root", "/e", "--add-runtime", "crun=/usr/bin/crun")
	if err != nil {
		t.Fatal(err)
	}
	c, err := engineConfig(s)
	if err != nil {
		t.Fatal(err)
	}
	if !s.debug || !slices.Equal(s.hosts, []string{"unix:///x.sock", "tcp://127.0.0.1:1"}) || s.dataRoot != "/d" || s.execRoot != "/e" || s.mtu != 1400 {
		t.Errorf("%+v", s)
	}
	if size, err := s.layerSize(); err != nil || size != 1<<30 {
		t.Errorf("containers take %d: %v", size, err)
	}
	if c.LogOptions["max-size"] != "1m" || c.LogOptions["max-file"] != "3" || c.Runtimes["runc"] != "/usr/bin/runc" || c.Runtimes["crun"] != "/usr/bin/crun" || c.Runtimes["youki"] != "/usr/bin/youki" || c.Ulimits[0].Hard != 128 || c.DNS[0].String() != "1.1.1.1" {
		t.Errorf("%+v", c)
	}
	if s.downloads != 3 || s.uploads != 5 {
		t.Errorf("%d downloads and %d uploads at once", s.downloads, s.uploads)
	}
	if n := networkConfig(s, nil); n.Pools[0].Size != 24 || len(n.PublishAllow) != 2 || n.Mark == "" ||
		n.Defaults["bridge"]["com.docker.network.bridge.host_binding_ipv4"] != "127.0.0.1" || n.Defaults["bridge"]["a"] != "b=c" {
		t.Errorf("%+v", n)
	}
	if r := s.registry; !slices.Equal(r.listen, []string{"localhost:5000"}) || r.htpasswd != "/h" || !r.token || r.gcInterval != time.Hour {
		t.Errorf("registry %+v", r)
	}
	if quota, err := s.registry.quota(); err != nil || quota("x") != 1<<30 || quota("team/x") != 2<<30 {
		t.Errorf("quota: %v", err)
	}
	if !strings.HasSuffix(c.CgroupParent, ".slice") {
		t.Errorf("cgroup parent %q", c.CgroupParent)
	}
}

func TestRefusedSettings(t *testing.T) {
	for _, tt := range []struct {
		file, want string
		args       []string
	}{
		{file: `{"registry-listen": ["localhost:5000"], "registry-token": true}`, want: "give htpasswd with token"},
		{file: `{"nope": 1}`, want: "the following directives don't match any configuration option: nope"},
		{file: `{"debug": false}`, args: []string{"-D"}, want: "the following directives are specified both as a flag and in the configuration file: debug: (from flag: true, from file: false)"},
		{file: `{`, want: "not a JSON document"},
		{file: `{"mtu": "x"}`, want: `key "mtu"`},
		{file: `{"hosts": [1]}`, want: "is not a string"},
		{file: `{"config-file": "/x"}`, want: "don't match any configuration option"},
		{file: `{}`, args: []string{"--log-level", "loud"}, want: "invalid logging level: loud"},
		{file: `{}`, args: []string{"--bip", "10.0.0.1"}, want: "invalid bridge address"},
		{file: `{"ip6tables": false}`, want: "--ip6tables=false is not supported"},
		{file: `{"ipv6": true, "fixed-cidr-v6": "10.0.0.0/24"}`, want: "invalid IPv6 subnet"},
		{file: `{"ipv6": true, "fixed-cidr-v6": "fd00::"}`, want: "invalid bridge address"},
		{file: `{"fixed-cidr-v6": "fd00::/64"}`, want: "need --ipv6"},
		{file: `{}`, args: []string{"--dns", "x"}, want: "x is not an ip address"},
		{file: `{}`, args: []string{"--publish-allow", "x"}, want: "\"x\" is no range of addresses"},
		{file: `{}`, args: []string{"--default-address-pool", "base=10.0.0.0/8"}, want: "invalid default address pool"},
		{file: `{}`, args: []string{"--add-runtime", "cove=/x"}, want: "is reserved"},
		{file: `{}`, args: []string{"--default-ulimit", "nofile=2:1"}, want: "soft limit must be less than or equal to hard limit"},
		{file: `{}`, args: []string{"--storage-driver", "zfs"}, want: "only overlay2 is"},
		{file: `{}`, args: []string{"--storage-opt", "overlay2.size=nope"}, want: "invalid size: 'nope'"},
		{file: `{}`, args: []string{"--storage-opt", "overlay2.size"}, want: "unable to parse storage-opt key/value"},
		{file: `{"storage-opts": ["dm.basesize=1g"]}`, want: "overlay2: unknown option dm.basesize"},
		{file: `{"log-driver": "nope"}`, want: "no log driver named 'nope' is registered"},
		{file: `{"log-opts": {"bad": "1"}}`, want: "bad"},
		{file: `{"registry-mirrors": ["ftp://x"]}`, want: "invalid mirror"},
		{file: `{"insecure-registries": ["http://x"]}`, want: `insecure registry "http://x"`},
		{file: `{}`, args: []string{"--exec-opt", "x"}, want: "invalid exec-opt (x): must be formatted 'opt=value'"},
		{file: `{}`, args: []string{"--exec-opt", "x=y"}, want: "invalid exec-opt (x=y): unknown option: 'x'"},
		{file: `{}`, args: []string{"rest"}, want: "unknown argument"},
		{file: `{"labels": ["c=d"], "log-opts": {"max-size": "1m"}, "mtu": 1400}`, args: []string{"--label", "a=b", "--log-opt", "max-file=2", "--mtu", "1300"},
			want: "both as a flag and in the configuration file: labels: (from flag: [a=b], from file: [c=d]), log-opts: (from flag: [max-file=2], from file: map[max-size:1m]), mtu: (from flag: 1300, from file: 1400)"},
		{file: `{"proxies": {"http-proxy": "http://me:secret@file:1"}}`, args: []string{"--http-proxy", "http://me:secret@flag:1"},
			want: "http-proxy: (from flag: http://xxxxx:xxxxx@flag:1, from file: http://xxxxx:xxxxx@file:1)"},
		{file: `{"proxies": 3}`, want: `key "proxies"`},
		{file: `{"proxies": {"nope": 3}}`, want: "don't match any configuration option: nope"},
		{file: `{"host-gateway-ip": "10.0.0.1", "host-gateway-ips": ["10.0.0.1"]}`, want: "host-gateway-ip and host-gateway-ips must not both be specified in the config file"},
		{file: `{}`, args: []string{"--host-gateway-ip", "10.0.0.1", "--host-gateway-ip", "10.0.0.2"}, want: "at most one host gateway address of IPv4"},
		{file: `{"iptables": false}`, want: "--iptables=false is not supported: without a firewall"},
		{file: `{"firewall-backend": "iptables"}`, want: "--firewall-backend=iptables is not supported"},
		{file: `{"authorization-plugins": ["opa"]}`, want: "--authorization-plugin=opa is not supported"},
		{file: `{"nri-opts": {"enable": true}}`, want: "--nri-opts=enable=true is not supported"},
		{file: `{}`, args: []string{"--selinux-enabled"}, want: "containers get no SELinux labels"},
		{file: `{}`, args: []string{"--rootless"}, want: "--rootless=true is not supported"},
		{file: `{"cpu-rt-period": 1000}`, want: "--cpu-rt-period=1000 is not supported"},
		{file: `{"shutdown-timeout": "x"}`, want: `key "shutdown-timeout"`},
		{file: `{"mtu": -1}`, want: "invalid default MTU: -1"},
		{file: `{"max-download-attempts": -1}`, want: "invalid max download attempts: -1"},
		{file: `{"labels": ["a=1", "a=2"]}`, want: "conflict labels for a=2 and a=1"},
		{file: `{"labels": ["a"]}`, want: "bad attribute format: a"},
		{file: `{"default-ipc-mode": "host"}`, want: `IPC mode "host" is not supported as default value`},
		{file: `{"default-cgroupns-mode": "x"}`, want: `invalid default cgroup namespace (x): use "host" or "private"`},
		{file: `{"default-runtime": "x"}`, want: "specified default runtime 'x' does not exist"},
		{file: `{"default-gateway": "fd00::1"}`, want: "fd00::1 is not an IPv4 address"},
		{file: `{"default-gateway-v6": "fd00::1"}`, want: "--default-gateway-v6 need --ipv6"},
		{file: `{"bip": "10.0.0.1/24", "fixed-cidr": "10.0.1.0/24"}`, want: "is not in the default network's subnet 10.0.0.0/24"},
		{file: `{"bridge-accept-fwmark": "0x1/x"}`, want: "invalid bridge-accept-fwmark: invalid firewall mask"},
		{file: `{"runtimes": {"r": {"path": "/r", "runtimeArgs": ["--debug"]}}}`, want: `runtime "r": runtimeArgs are not supported`},
		{file: `{"runtimes": {"r": {"runtimeType": "io.containerd.kata.v2"}}}`, want: `runtime "r": runtimeType io.containerd.kata.v2 is not supported`},
		{file: `{"oom-score-adjust": 1001}`, want: "invalid oom-score-adjust: 1001"},
	} {
		if _, err := withFile(t, tt.file, tt.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %q: %v, want %q", tt.file, tt.args, err, tt.want)
		}
	}
}

func TestUsualCgroupns(t *testing.T) {
	if old, unified := usualCgroupns(false), usualCgroupns(true); old != "host" || unified != "private" {
		t.Errorf("%q with the older hierarchies, %q with the unified one", old, unified)
	}
}

func TestMissingFile(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent.json")
	if _, err := readSettings([]string{"--config-file", absent}); err == nil {
		t.Error("a file that was named must be there")
	}
	s := newSettings()
	s.configFile = absent
	if err := s.readFile(); err != nil {
		t.Errorf("the default file may be missing: %v", err)
	}
}

func TestMark(t *testing.T) {
	s := newSettings()
	if s.mark() != "" {
		t.Errorf("the default instance has a mark: %q", s.mark())
	}
	s.dataRoot = "/elsewhere"
	one := s.mark()
	if s.dataRoot = "/other"; len(one) != 8 || one == s.mark() {
		t.Errorf("marks %q and %q", one, s.mark())
	}
	if parent, err := s.parent(); err != nil || parent != "/cove-"+s.mark() {
		t.Errorf("%q %v", parent, err)
	}
}

// TestTold: what a reload tells is in dockerd's words.
func TestTold(t *testing.T) {
	s, err := withFile(t, `{"labels": ["a=b"], "features": {"x": true}, "max-concurrent-uploads": 7, "shutdown-timeout": 3, "default-ipc-mode": "shareable",
		"runtimes": {"b": {"path": "/b"}, "a": {"path": "/a"}}, "default-runtime": "b", "default-shm-size": "1k", "default-cgroupns-mode": "private"}`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"debug": "false", "labels": `["a=b"]`, "features": "map[x:true]", "allow-nondistributable-artifacts": "[]",
		"insecure-registries": "[]", "registry-mirrors": "[]", "max-concurrent-downloads": "4", "max-concurrent-uploads": "7",
		"max-download-attempts": "4", "shutdown-timeout": "3", "live-restore": "true", "runtimes": "a:/a b:/b", "default-runtime": "b",
		"default-shm-size": "1024", "default-ipc-mode": "shareable", "default-cgroupns-mode": "private",
	}
	if told := s.told(); !maps.Equal(told, want) {
		t.Errorf("got %v", told)
	}
}

// TestAllOfDockerd: no flag of dockerd's, and no key of its file, is unknown.
func TestAllOfDockerd(t *testing.T) {
	s := newSettings()
	byKey := s.byKey()
	for _, flag := range strings.Fields(`add-runtime allow-direct-routing authorization-plugin bip bip6 bridge bridge-accept-fwmark cdi-spec-dir
		cgroup-parent config-file containerd containerd-namespace containerd-plugins-namespace cpu-rt-period cpu-rt-runtime cri-containerd data-root
		debug default-address-pool default-cgroupns-mode default-gateway default-gateway-v6 default-ipc-mode default-network-opt default-runtime
		default-shm-size default-ulimit dns dns-opt dns-search exec-opt exec-root experimental feature firewall-backend fixed-cidr fixed-cidr-v6
		group host host-gateway-ip http-proxy https-proxy icc init init-path insecure-registry ip ip-forward ip-forward-no-drop ip-masq ip6tables
		iptables ipv6 label live-restore log-driver log-format log-level log-opt max-concurrent-downloads max-concurrent-uploads
		max-download-attempts metrics-addr mtu network-control-plane-mtu network-diagnostic-port no-new-privileges no-proxy node-generic-resource
		nri-opts oom-score-adjust pidfile raw-logs registry-mirror rootless seccomp-profile selinux-enabled shutdown-timeout storage-driver
		storage-opt swarm-default-advertise-addr tls tlscacert tlscert tlskey tlsverify userland-proxy userland-proxy-path userns-remap validate version
		allow-nondistributable-artifacts api-cors-header`) {
		if s.flags.Lookup(flag) == nil {
			t.Errorf("no flag --%s", flag)
		}
	}
	for _, key := range strings.Fields(`authorization-plugins default-address-pools default-network-opts default-ulimits dns-opts exec-opts features
		host-gateway-ips hosts insecure-registries labels log-opts node-generic-resources registry-mirrors runtimes storage-opts builder`) {
		if byKey[key] == nil {
			t.Errorf("no key %q", key)
		}
	}
}

func TestPidFile(t *testing.T) {
	s := newSettings()
	s.execRoot = t.TempDir()
	s.pidfile = filepath.Join(s.execRoot, "coved.pid")
	if err := os.WriteFile(s.pidfile, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := claim(s); err != nil {
		t.Errorf("process 1 is no engine: %v", err)
	}
	if err := claim(s); err != nil {
		t.Errorf("its own pid file: %v", err)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"debug": true, "runtimes": {"a": {"path": "/b"}}}`))
	f.Add([]byte(`{"default-ulimits": {"nofile": 3}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := newSettings()
		if s.apply(raw) == nil {
			s.check()
		}
	})
}

func TestWarningOfAnOpenRegistry(t *testing.T) {
	loopback, all := &net.TCPAddr{IP: net.IPv6loopback, Port: 5000}, &net.TCPAddr{IP: net.IPv4zero, Port: 5000}
	for _, c := range []struct {
		args []string
		at   net.Addr
		says string
	}{
		{nil, loopback, ""},
		{nil, all, "no accounts"},
		{[]string{"--read-only"}, all, ""},
		{[]string{"--proxy", "docker.io"}, all, ""},
		{[]string{"--proxy", "docker.io", "--proxy-username", "me", "--proxy-password-file", "f"}, all, "what me does"},
		{[]string{"--proxy", "docker.io", "--proxy-username", "me", "--proxy-password-file", "f"}, loopback, ""},
		{[]string{"--htpasswd", "x"}, all, "unencrypted"},
		{[]string{"--htpasswd", "x"}, loopback, ""},
		{[]string{"--htpasswd", "x", "--tls-cert", "c", "--tls-key", "k"}, all, ""},
		{[]string{"--tls-cert", "c", "--tls-key", "k"}, all, "no accounts"},
	} {
		s, err := readServeSettings(c.args)
		if err != nil {
			t.Fatal(err)
		}
		got := s.exposed([]net.Addr{&net.UnixAddr{Name: "/x"}, c.at})
		if (c.says == "") != (got == "") || !strings.Contains(got, c.says) {
			t.Errorf("%v at %v: %q, want %q", c.args, c.at, got, c.says)
		}
	}
}

func TestSettingsOfARegistryThatContradict(t *testing.T) {
	for _, args := range []string{"--gc-grace 0", "--upload-expiry 0", "--gc-grace -1s", "--proxy-fresh -1s", "--anonymous"} {
		if _, err := readServeSettings(strings.Fields(args)); err == nil {
			t.Errorf("%s was taken", args)
		}
	}
	for _, args := range []string{"--anonymous --htpasswd x", "--anonymous --rights x", "--anonymous --read-only", "--anonymous --proxy docker.io"} {
		if _, err := readServeSettings(strings.Fields(args)); err != nil {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// TestPassedOver: what changes nothing here is taken, from the command line and from the file.
func TestPassedOver(t *testing.T) {
	s, err := withFile(t, `{"iptables": true, "ip6tables": true, "userland-proxy": true, "live-restore": false, "shutdown-timeout": 5, "raw-logs": true,
		"features": {"buildkit": true, "containerd-snapshotter": false}, "containerd-plugin-namespace": "p", "node-generic-resources": ["a=b"],
		"nri-opts": {"enable": false}, "authorization-plugins": [], "host-gateway-ip": "10.0.0.1", "default-cgroupns-mode": "host",
		"proxies": {"http-proxy": "http://p:1", "no-proxy": "x"}, "oom-score-adjust": -500}`,
		"--containerd", "/run/containerd/containerd.sock", "--userland-proxy-path=/x", "--ip-forward-no-drop", "--firewall-backend", "nftables",
		"--init-path", "/x", "--selinux-enabled=false", "--network-control-plane-mtu", "1400", "--swarm-default-advertise-addr", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	if n := networkConfig(s, nil); len(n.HostGateways) != 1 || s.httpProxy != "http://p:1" || s.noProxy != "x" || s.oomScore != -500 {
		t.Errorf("%+v", s)
	}
	if help := s.flags.FlagUsages(); !strings.Contains(help, "--containerd string") || !strings.Contains(help, "Accepted for compatibility: there is no containerd") {
		t.Error(help)
	}
}

// TestSettingsOfTheDefaultNetwork reads what it is to be.
func TestSettingsOfTheDefaultNetwork(t *testing.T) {
	s, err := withFile(t, `{"ipv6": true, "icc": false, "ip-masq": false, "ip-forward": false, "allow-direct-routing": true, "fixed-cidr": "10.1.2.0/25",
		"bip": "10.1.2.1/24", "default-gateway": "10.1.2.200", "default-gateway-v6": "fd00::9", "fixed-cidr-v6": "fd00::/64", "bridge-accept-fwmark": "0x10/0xf0"}`)
	if err != nil {
		t.Fatal(err)
	}
	n := networkConfig(s, nil)
	if !n.Apart || !n.Seen || !n.NoForward || !n.Direct || n.Gateway.V4.String() != "10.1.2.200" || n.Gateway.V6.String() != "fd00::9" ||
		n.Range.String() != "10.1.2.0/25" || n.Range6.String() != "fd00::/64" || n.Marked != (network.Mark{Value: 0x10, Mask: 0xf0}) {
		t.Errorf("%+v", n)
	}
}
