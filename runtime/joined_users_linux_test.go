package runtime

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/account"
)

// usersToJoin is a user namespace whose root is user 100000 and group 200000 of the host.
func usersToJoin(t *testing.T) *os.File {
	t.Helper()
	needRoot(t)
	var cfg Config
	cfg.Spec = &specs.Spec{Linux: &specs.Linux{}}
	mapUsers(&cfg)
	f, err := openUsers(&account.Map{Users: cfg.Spec.Linux.UIDMappings, Groups: cfg.Spec.Linux.GIDMappings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// join has a container live in a user namespace that is there already.
func join(cfg *Config, path string) {
	cfg.Spec.Linux.Namespaces = append(cfg.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: path})
}

func pathOf(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// everyPower lets the container's root do what its user namespace lets it do.
func everyPower(cfg *Config) {
	c := cfg.Spec.Process.Capabilities
	for _, list := range []*[]string{&c.Bounding, &c.Effective, &c.Permitted} {
		*list = append(*list, "CAP_SYS_ADMIN", "CAP_NET_ADMIN")
	}
}

func TestJoinedUserNamespace(t *testing.T) {
	users := usersToJoin(t)
	want, err := os.Readlink(pathOf(users))
	if err != nil {
		t.Fatal(err)
	}
	// What it made belongs to the namespace: it may change its own network, name and mounts, and not the host's numbers.
	cfg := sh(t, `readlink /proc/self/ns/user; cat /proc/self/uid_map | tr -s ' '; stat -c '%u:%g %n' /dev /dev/pts /dev/shm /proc/1
echo $$; cat /proc/sys/kernel/hostname; ip link set lo mtu 1234 && cat /sys/class/net/lo/mtu; hostname other && hostname
mount -t tmpfs x /tmp && echo mounted; mount -t proc x /tmp && ls -d /tmp/1
touch /new && chown 7:7 /new && stat -c %u:%g /new; ulimit -n; echo 0 2>/dev/null >/proc/sys/kernel/panic || echo refused`)
	join(&cfg, pathOf(users))
	everyPower(&cfg)
	cfg.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 700, Hard: 3000}}
	cfg.Spec.Linux.MaskedPaths, cfg.Spec.Linux.ReadonlyPaths = nil, nil
	chownUpper(t, &cfg)
	expect(t, cfg, 0, want+"\n 0 100000 65536\n0:0 /dev\n0:0 /dev/pts\n0:0 /dev/shm\n0:0 /proc/1\n1\nbox\n1234\nother\nmounted\n/tmp/1\n7:7\n700\nrefused")
}

func TestRefusedUserNamespaces(t *testing.T) {
	users := usersToJoin(t)
	cfg := sh(t, "true")
	mapUsers(&cfg)
	cfg.Spec.Linux.UIDMappings[0].HostID = 5
	cfg.Spec.Linux.Namespaces[len(cfg.Spec.Linux.Namespaces)-1].Path = pathOf(users)
	if _, err := Create(cfg, IO{}); err == nil || !strings.Contains(err.Error(), "are not those of the document") {
		t.Errorf("other mappings: %v", err)
	}
	cfg = sh(t, "true")
	join(&cfg, "/proc/self/ns/net")
	if _, err := Create(cfg, IO{}); err == nil || !strings.Contains(err.Error(), "is no user namespace") {
		t.Errorf("a namespace of another kind: %v", err)
	}
	// The same mappings are no contradiction, and the host's own namespace is the host's.
	cfg = sh(t, "id -u")
	mapUsers(&cfg)
	cfg.Spec.Linux.Namespaces[len(cfg.Spec.Linux.Namespaces)-1].Path = pathOf(users)
	chownUpper(t, &cfg)
	expect(t, cfg, 0, "0")
	cfg = sh(t, "tr -s ' ' </proc/self/uid_map")
	join(&cfg, "/proc/self/ns/user")
	expect(t, cfg, 0, " 0 0 4294967295")
}

// TestSharedUserNamespace has two containers share a user namespace and the network namespace that belongs to it.
func TestSharedUserNamespace(t *testing.T) {
	users := usersToJoin(t)
	first := sh(t, "sleep 1000")
	join(&first, pathOf(users))
	chownUpper(t, &first)
	c, err := Create(first, IO{})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	second := sh(t, "ip link set lo mtu 1300 && cat /sys/class/net/lo/mtu; stat -c %u /proc/1")
	join(&second, fmt.Sprintf("/proc/%d/ns/user", c.Pid()))
	everyPower(&second)
	for i := range second.Spec.Linux.Namespaces {
		if n := &second.Spec.Linux.Namespaces[i]; n.Type == specs.NetworkNamespace {
			n.Path = fmt.Sprintf("/proc/%d/ns/net", c.Pid())
		}
	}
	chownUpper(t, &second)
	expect(t, second, 0, "1300\n0")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := c.Exec(specs.Process{Args: []string{"sh", "-c", "id -u; cat /sys/class/net/lo/mtu; touch /tmp/x; stat -c %u /tmp/x"}, Cwd: "/", Env: []string{"PATH=/bin"}}, "9", nil, IO{Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if out, err := io.ReadAll(r); err != nil || string(out) != "9\n1300\n9\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestBundleInUserNamespace makes, starts and enters such a container by verbs that know one another by files only.
func TestBundleInUserNamespace(t *testing.T) {
	users := usersToJoin(t)
	id, bundle := testBundle(t, "id -u >/tmp/seen; sleep 1000", func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: pathOf(users)})
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"})
	})
	b := OpenBundles(filepath.Join(t.TempDir(), "state"))
	if _, err := b.Create(id, CreateOptions{Bundle: bundle}); err != nil {
		t.Fatal(err)
	}
	r, err := b.Load(id)
	if err != nil || r.Status != specs.StateCreated {
		t.Errorf("%+v, %v", r, err)
	}
	if err := b.Start(id); err != nil {
		t.Fatal(err)
	}
	p, err := b.Exec(id, ExecOptions{Process: specs.Process{
		Args: []string{"/bin/sh", "-c", "until [ -s /tmp/seen ]; do sleep 0.05; done; exit $(($(cat /tmp/seen) + $(id -u)))"}, Cwd: "/", User: specs.User{UID: 3},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if status, err := p.Wait(); err != nil || status.Code != 3 {
		t.Errorf("a further process: %+v, %v", status, err)
	}
	if err := b.Delete(id, true); err != nil {
		t.Fatal(err)
	}
}

// TestMappedLayers has a root whose layers lie on the disk with the container's own numbers, below it and in what it writes.
func TestMappedLayers(t *testing.T) {
	users := usersToJoin(t)
	more := t.TempDir()
	for name, owner := range map[string]int{"roots": 0, "fives": 5} {
		writeFile(t, filepath.Join(more, name), name, 0o600)
		if err := os.Chown(filepath.Join(more, name), owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(more, 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := sh(t, `stat -c '%u:%g %n' / /bin /roots /fives; cat /fives; echo; echo more >>/roots; touch /new; chown 7:8 /new; mkdir /d; stat -c '%u:%g %n' /roots /new /d /image/roots /image/bin; cat /image/fives`)
	join(&cfg, pathOf(users))
	cfg.Overlay.Lower = append([]string{more}, cfg.Overlay.Lower...)
	cfg.Overlay.Mapped = true
	cfg.Spec.Mounts = append(cfg.Spec.Mounts, specs.Mount{
		Destination: "/image", Type: "overlay", Source: "overlay", Options: []string{"lowerdir+=" + cfg.Overlay.Lower[0], "lowerdir+=" + cfg.Overlay.Lower[1], "idmap", "ro"},
	})
	expect(t, cfg, 0, "0:0 /\n0:0 /bin\n0:0 /roots\n5:5 /fives\nfives\n0:0 /roots\n7:8 /new\n0:0 /d\n0:0 /image/roots\n0:0 /image/bin\nfives")
	for name, want := range map[string]string{"roots": "0:0", "new": "7:8", "d": "0:0"} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(cfg.Overlay.Upper, name), &st); err != nil || fmt.Sprintf("%d:%d", st.Uid, st.Gid) != want {
			t.Errorf("%s is %d:%d's on the disk, want %s: %v", name, st.Uid, st.Gid, want, err)
		}
	}
	cfg = sh(t, "true")
	join(&cfg, pathOf(users))
	cfg.Overlay.Lower, cfg.Overlay.Mapped = append([]string{"/proc/self"}, cfg.Overlay.Lower...), true
	if _, err := Create(cfg, IO{}); err == nil || !strings.Contains(err.Error(), "cannot do it for the file system below") {
		t.Errorf("a file system that maps nobody: %v", err)
	}
}
