package spec

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func settings(change func(*Settings)) Settings {
	s := Settings{
		ID: "abc", Config: &ct.Config{}, HostConfig: &ct.HostConfig{}, Args: []string{"sh"},
		Hostname: "h", CgroupPath: "/cove/abc", Hosts: "/d/hosts", ResolvConf: "/d/resolv.conf", HostnameFile: "/d/hostname",
	}
	change(&s)
	return s
}

func document(t *testing.T, change func(*Settings)) *specs.Spec {
	t.Helper()
	doc, err := Document(settings(change))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func mountAt(doc *specs.Spec, target string) (specs.Mount, bool) {
	i := slices.IndexFunc(doc.Mounts, func(m specs.Mount) bool { return m.Destination == target })
	if i < 0 {
		return specs.Mount{}, false
	}
	return doc.Mounts[i], true
}

func TestDefaults(t *testing.T) {
	doc := document(t, func(*Settings) {})
	var kinds []string
	for _, n := range doc.Linux.Namespaces {
		kinds = append(kinds, string(n.Type))
	}
	if want := []string{"mount", "pid", "ipc", "uts", "network", "cgroup"}; !slices.Equal(kinds, want) {
		t.Errorf("namespaces %v, want %v", kinds, want)
	}
	if doc.Linux.Seccomp == nil || len(doc.Linux.Seccomp.Syscalls) < 20 {
		t.Error("the default seccomp profile is missing")
	}
	if !slices.Contains(doc.Linux.MaskedPaths, "/proc/kcore") || !slices.Contains(doc.Linux.ReadonlyPaths, "/proc/sys") {
		t.Error("default masked and read-only paths are missing")
	}
	if doc.Linux.Resources.Devices[0].Allow {
		t.Error("devices are not denied by default")
	}
	if got := doc.Linux.Sysctl["net.ipv4.ip_unprivileged_port_start"]; got != "0" {
		t.Errorf("unprivileged ports start at %q", got)
	}
	if slices.Contains(doc.Process.Capabilities.Bounding, "CAP_SYS_ADMIN") {
		t.Error("CAP_SYS_ADMIN by default")
	}
}

func TestUsers(t *testing.T) {
	ids := []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
	change := func(s *Settings) {
		s.Mounts = []Mount{
			{Type: "bind", Source: "/b", Target: "/b"}, {Type: "bind", Source: "/v", Target: "/v", Owned: true},
			{Type: "bind", Source: "/m", Target: "/m", Owned: true, MayOwn: true},
		}
		s.Users = &Users{ids, ids}
	}
	doc := document(t, change)
	if last := doc.Linux.Namespaces[len(doc.Linux.Namespaces)-1]; last.Type != specs.UserNamespace || !reflect.DeepEqual(doc.Linux.UIDMappings, ids) || !reflect.DeepEqual(doc.Linux.GIDMappings, ids) {
		t.Errorf("%+v", doc.Linux)
	}
	for target, want := range map[string]string{"/b": "", "/v": "idmap", "/m": "x-cove.mayidmap", "/etc/hosts": "idmap", "/etc/resolv.conf": "idmap"} {
		m, _ := mountAt(doc, target)
		for _, word := range []string{"idmap", "x-cove.mayidmap"} {
			if has := slices.Contains(m.Options, word); has != (word == want) {
				t.Errorf("%s has the options %v", target, m.Options)
			}
		}
	}
	doc = document(t, func(s *Settings) { change(s); s.Users = nil })
	if m, _ := mountAt(doc, "/v"); slices.Contains(m.Options, "idmap") {
		t.Errorf("in the host's user namespace: %v", m.Options)
	}
	if doc = document(t, func(s *Settings) { change(s); s.IPC.Host = true }); slices.ContainsFunc(doc.Mounts, func(m specs.Mount) bool { return m.Type == "mqueue" }) {
		t.Error("the host's queues cannot be mounted")
	}
}

func TestEnvironment(t *testing.T) {
	got := Environment("host", true, []string{"A=1", "TERM=foo", "A=2", "PATH", "B=", "NONE"})
	if want := []string{"HOSTNAME=host", "TERM=foo", "A=2", "B="}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCapabilities(t *testing.T) {
	for _, c := range []struct {
		add, drop     []string
		has, hasNot   string
		count, errors int
	}{
		{nil, nil, "CAP_CHOWN", "CAP_SYS_ADMIN", 14, 0},
		{[]string{"sys_admin"}, nil, "CAP_SYS_ADMIN", "CAP_SYS_TIME", 15, 0},
		{nil, []string{"ALL"}, "", "CAP_CHOWN", 0, 0},
		{[]string{"CAP_CHOWN"}, []string{"all"}, "CAP_CHOWN", "CAP_KILL", 1, 0},
		{[]string{"ALL"}, []string{"CAP_SYS_TIME"}, "CAP_CHOWN", "CAP_SYS_TIME", -1, 0},
		{[]string{"NOPE"}, nil, "", "", 0, 1},
		{nil, []string{"CAP_NOPE"}, "", "", 0, 1},
	} {
		got, err := Capabilities(c.add, c.drop, false)
		if (err != nil) != (c.errors > 0) {
			t.Errorf("add %v drop %v: error %v", c.add, c.drop, err)
			continue
		}
		if err != nil && !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("add %v drop %v: %v is not invalid argument", c.add, c.drop, err)
		}
		if c.has != "" && !slices.Contains(got, c.has) || slices.Contains(got, c.hasNot) || c.count >= 0 && len(got) != c.count {
			t.Errorf("add %v drop %v: got %v", c.add, c.drop, got)
		}
	}
}

func TestParentMountsComeFirst(t *testing.T) {
	doc := document(t, func(s *Settings) {
		s.Mounts = []Mount{{Type: "bind", Source: "/b", Target: "/m/b"}, {Type: "bind", Source: "/a", Target: "/m", ReadOnly: true}}
	})
	var order []string
	for _, m := range doc.Mounts {
		if strings.HasPrefix(m.Destination, "/m") {
			order = append(order, m.Destination)
		}
	}
	if !slices.Equal(order, []string{"/m", "/m/b"}) {
		t.Errorf("order %v", order)
	}
	if m, _ := mountAt(doc, "/m"); !slices.Equal(m.Options, []string{"rbind", "rprivate", "rro"}) {
		t.Errorf("options %v", m.Options)
	}
}

func TestUserMountReplacesManagedFile(t *testing.T) {
	doc := document(t, func(s *Settings) {
		s.HostConfig.ReadonlyRootfs = true
		s.Mounts = []Mount{{Type: "bind", Source: "/mine", Target: "/etc/hosts"}, {Type: "tmpfs", Target: "/dev/shm"}}
	})
	if m, _ := mountAt(doc, "/etc/hosts"); m.Source != "/mine" {
		t.Errorf("/etc/hosts comes from %s", m.Source)
	}
	if m, _ := mountAt(doc, "/etc/resolv.conf"); !slices.Contains(m.Options, "rro") {
		t.Errorf("/etc/resolv.conf is writable under a read-only root: %v", m.Options)
	}
	n := 0
	for _, m := range doc.Mounts {
		if m.Destination == "/dev/shm" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d mounts at /dev/shm", n)
	}
}

func TestResources(t *testing.T) {
	pids := int64(0)
	r := Resources(ct.Resources{Memory: 64 << 20, NanoCPUs: 1_500_000_000, PidsLimit: &pids, CPUShares: 1})
	if *r.Memory.Limit != 64<<20 || *r.Memory.Swap != 128<<20 || *r.CPU.Quota != 150_000 || *r.CPU.Period != 100_000 || *r.CPU.Shares != 2 || *r.Pids.Limit != -1 {
		t.Errorf("got %+v %+v %+v", r.Memory, r.CPU, r.Pids)
	}
	if r := Resources(ct.Resources{}); r.Memory != nil || r.CPU != nil || r.Pids != nil {
		t.Errorf("an empty update sets something: %+v", r)
	}
}

func TestSecurityOptions(t *testing.T) {
	for _, c := range []struct {
		options []string
		bad     bool
		nnp     bool
		filter  bool
	}{
		{nil, false, false, true},
		{[]string{"no-new-privileges"}, false, true, true},
		{[]string{"no-new-privileges:true"}, false, true, true},
		{[]string{"no-new-privileges=false"}, false, false, true},
		{[]string{"seccomp=unconfined"}, false, false, false},
		{[]string{`seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["chmod"],"action":"SCMP_ACT_ERRNO"}]}`}, false, false, true},
		{[]string{"seccomp={"}, true, false, false},
		{[]string{"bad"}, true, false, false},
		{[]string{"apparmor=strict"}, false, false, true},
		{[]string{"apparmor=unconfined", "label=disable"}, false, false, true},
	} {
		doc, err := Document(settings(func(s *Settings) { s.HostConfig.SecurityOpt = c.options }))
		if c.bad {
			if !errors.Is(err, errdefs.ErrInvalidArgument) {
				t.Errorf("%v: error %v", c.options, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", c.options, err)
			continue
		}
		if doc.Process.NoNewPrivileges != c.nnp || (doc.Linux.Seccomp != nil) != c.filter {
			t.Errorf("%v: no_new_privs %v, filter %v", c.options, doc.Process.NoNewPrivileges, doc.Linux.Seccomp != nil)
		}
	}
}

func TestConfinement(t *testing.T) {
	loaded := func() (string, error) { return AppArmorDefault, nil }
	for _, c := range []struct {
		options    []string
		privileged bool
		normal     func() (string, error)
		want       string
	}{
		{nil, false, nil, ""},
		{nil, true, nil, ""},
		{nil, false, loaded, AppArmorDefault},
		{nil, true, loaded, Unconfined},
		{[]string{"apparmor=strict"}, false, loaded, "strict"},
		{[]string{"apparmor:strict"}, true, loaded, "strict"},
		{[]string{"apparmor=unconfined"}, false, loaded, Unconfined},
		{[]string{"apparmor="}, false, loaded, AppArmorDefault},
	} {
		doc, err := Document(settings(func(s *Settings) {
			s.HostConfig.SecurityOpt, s.HostConfig.Privileged, s.AppArmor = c.options, c.privileged, c.normal
		}))
		if err != nil || doc.Process.ApparmorProfile != c.want {
			t.Errorf("%v, privileged %v: %v, %v, want %q", c.options, c.privileged, doc, err, c.want)
		}
	}
	failed := errors.New("no parser")
	if _, err := Document(settings(func(s *Settings) { s.AppArmor = func() (string, error) { return "", failed } })); !errors.Is(err, failed) {
		t.Errorf("a profile that cannot be loaded: %v", err)
	}
}

func TestDeviceRules(t *testing.T) {
	zero, one := int64(0), int64(1)
	for text, want := range map[string]*specs.LinuxDeviceCgroup{
		"c 1:* rwm": {Allow: true, Type: "c", Major: &one, Access: "rwm"},
		"a *:* r":   {Allow: true, Type: "a", Access: "r"},
		"b 1:0 w":   {Allow: true, Type: "b", Major: &one, Minor: &zero, Access: "w"},
		"c 1:* x":   nil, "c 1 r": nil, "": nil, "d 1:1 r": nil, "c -1:1 r": nil,
	} {
		got, err := deviceRule(text)
		if want == nil {
			if err == nil {
				t.Errorf("%q was accepted", text)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(&got, want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestPrivileged(t *testing.T) {
	doc := document(t, func(s *Settings) { s.HostConfig.Privileged = true })
	if doc.Linux.Seccomp != nil || doc.Linux.MaskedPaths != nil || !doc.Linux.Resources.Devices[0].Allow {
		t.Error("a privileged container is still confined")
	}
	if m, _ := mountAt(doc, "/sys"); slices.Contains(m.Options, "ro") {
		t.Error("/sys is read-only")
	}
	_, err := Document(settings(func(s *Settings) {
		s.HostConfig.Devices = []ct.DeviceMapping{{PathOnHost: "/dev/nope"}}
	}))
	if !errors.Is(err, errdefs.ErrInvalidArgument) && err == nil {
		t.Errorf("missing device: %v", err)
	}
}

// TestDevicesByName: what has no absolute path is nowhere, rather than somewhere below the daemon's working directory.
func TestDevicesByName(t *testing.T) {
	for _, path := range []string{"", ".", "dev/null", "/dev"} {
		_, err := Document(settings(func(s *Settings) {
			s.HostConfig.Devices = []ct.DeviceMapping{{PathOnHost: path, PathInContainer: "/dev/x"}}
		}))
		if wrong := path != "/dev"; wrong != errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("device %q: %v", path, err)
		}
	}
}

func TestSharedNamespaces(t *testing.T) {
	doc := document(t, func(s *Settings) {
		s.UTS, s.PID, s.Net = Namespace{Host: true}, Namespace{Path: "/proc/7/ns/pid"}, Namespace{Path: "/proc/7/ns/net"}
	})
	if doc.Hostname != "" || doc.Linux.Sysctl["net.ipv4.ping_group_range"] != "" {
		t.Error("a shared namespace would be changed")
	}
}

func FuzzDeviceRule(f *testing.F) {
	f.Add("c 1:* rwm")
	f.Fuzz(func(t *testing.T, text string) {
		if rule, err := deviceRule(text); err == nil && (rule.Access == "" || rule.Type == "") {
			t.Errorf("%q: %+v", text, rule)
		}
	})
}

func TestSubpath(t *testing.T) {
	doc := document(t, func(s *Settings) {
		s.Mounts = []Mount{{Type: "bind", Source: "/v", Subpath: "a/b", Target: "/m"}}
	})
	if m, _ := mountAt(doc, "/m"); m.Source != "/v" || !slices.Contains(m.Options, "x-cove.subpath=a/b") {
		t.Errorf("mount %+v", m)
	}
}
