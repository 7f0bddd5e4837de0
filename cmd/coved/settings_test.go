package main

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
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
		"runtimes": {"runc": {"path": "/usr/bin/runc"}}, "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 64, "Hard": 128}},
		"max-concurrent-downloads": 3, "max-concurrent-uploads": 5, "dns": ["1.1.1.1"], "exec-opts": ["native.cgroupdriver=systemd"],
		"registry-listen": ["localhost"], "registry-htpasswd": "/h", "registry-token": true, "registry-gc-interval": "1h",
		"registry-quota": ["1GB", "team/**=2GB"],
		"default-network-opts": {"bridge": {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1", "a": "b=c"}}
	}`, "--exec-root", "/e", "--insecure-registry", "h:2")
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
	if c.LogOptions["max-size"] != "1m" || c.LogOptions["max-file"] != "3" || c.Runtimes["runc"] != "/usr/bin/runc" || c.Ulimits[0].Hard != 128 || c.DNS[0].String() != "1.1.1.1" {
		t.Errorf("%+v", c)
	}
	if s.downloads != 3 || s.uploads != 5 {
		t.Errorf("%d downloads and %d uploads at once", s.downloads, s.uploads)
	}
	if !slices.Equal(s.insecure, []string{"h:2", "h:1"}) {
		t.Errorf("insecure %q", s.insecure)
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
		{file: `{"log-driver": "nope"}`, want: "no log driver named 'nope' is registered"},
		{file: `{"log-opts": {"bad": "1"}}`, want: "bad"},
		{file: `{"registry-mirrors": ["ftp://x"]}`, want: "invalid mirror"},
		{file: `{"insecure-registries": ["http://x"]}`, want: `insecure registry "http://x"`},
		{file: `{}`, args: []string{"--exec-opt", "x"}, want: "unknown exec option"},
		{file: `{}`, args: []string{"rest"}, want: "unknown argument"},
	} {
		if _, err := withFile(t, tt.file, tt.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %q: %v, want %q", tt.file, tt.args, err, tt.want)
		}
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

func TestReload(t *testing.T) {
	s, err := withFile(t, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: s.level}))
	if err := os.WriteFile(s.configFile, []byte(`{"debug": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var allowed []netip.Prefix
	allow := func(from []netip.Prefix) error { allowed = from; return nil }
	if s.reload(log, allow); !log.Enabled(context.Background(), slog.LevelDebug) || allowed != nil {
		t.Errorf("the level did not change, or %v", allowed)
	}
	if err := os.WriteFile(s.configFile, []byte(`{"publish-allow": ["10.0.0.0/8"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.reload(log, allow); len(allowed) != 1 {
		t.Errorf("who may reach published ports: %v", allowed)
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
