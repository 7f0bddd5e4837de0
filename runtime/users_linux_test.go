package runtime

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mapUsers gives a container a user namespace; its root is user 100000 and group 200000 of the host.
func mapUsers(cfg *Config) {
	cfg.Spec.Linux.Namespaces = append(cfg.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	cfg.Spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	cfg.Spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 65536}}
}

func TestUserNamespace(t *testing.T) {
	cfg := sh(t, `cat /proc/self/uid_map | tr -s ' '; stat -c '%u:%g %n' /dev /dev/pts /dev/pts/ptmx /dev/shm /dev/fd /proc/1 /sub /sub/file
echo x >/dev/null && head -c 3 /dev/zero | wc -c; stat -c '%F %t:%T' /dev/null
cat /proc/sys/kernel/hostname; cat /sys/class/net/lo/operstate; ls /sys/fs/cgroup | wc -l | grep -q 0 || echo groups
touch /new && chown 7:7 /new && stat -c %u:%g /new; ulimit -n; cat /proc/self/oom_score_adj`)
	mapUsers(&cfg)
	tmpfs(&cfg, "/sub/file")
	cfg.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 700, Hard: 3000}}
	cfg.Spec.Process.OOMScoreAdj = ptr(100)
	cfg.Spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"}
	chownUpper(t, &cfg)
	expect(t, cfg, 0, " 0 100000 65536\n0:0 /dev\n0:0 /dev/pts\n0:0 /dev/pts/ptmx\n0:0 /dev/shm\n0:0 /dev/fd\n0:0 /proc/1\n"+
		"0:0 /sub\n0:0 /sub/file\n3\ncharacter special file 1:3\nbox\nunknown\ngroups\n7:7\n700\n100")
}

// chownUpper gives a container's writable layer to its root.
func chownUpper(t *testing.T, cfg *Config) {
	t.Helper()
	if err := os.Chown(cfg.Overlay.Upper, 100000, 200000); err != nil {
		t.Fatal(err)
	}
}

func TestUserNamespaceHasNoPowerOutside(t *testing.T) {
	host := t.TempDir()
	writeFile(t, filepath.Join(host, "secret"), "x", 0o600)
	cfg := sh(t, `cat /host/secret; mknod /dev/x c 1 3 && cat /dev/x; echo 0 >/proc/sys/kernel/panic; mount -t tmpfs t /dev/shm && stat -c %u /dev/shm; umount /proc/kcore; true`)
	mapUsers(&cfg)
	chownUpper(t, &cfg)
	bind(&cfg, host, "/host", "rbind")
	for _, list := range []*[]string{&cfg.Spec.Process.Capabilities.Bounding, &cfg.Spec.Process.Capabilities.Effective, &cfg.Spec.Process.Capabilities.Permitted} {
		*list = append(*list, "CAP_SYS_ADMIN", "CAP_MKNOD")
	}
	cfg.Spec.Linux.ReadonlyPaths = nil
	got := runContainer(t, cfg)
	for _, want := range []string{"can't open '/host/secret': Permission denied", "mknod: /dev/x: Operation not permitted", "can't create /proc/sys/kernel/panic: Permission denied", "\n0\n"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("%q is not in:\n%s", want, got.out)
		}
	}
}

func TestExecInUserNamespace(t *testing.T) {
	cfg := sh(t, "sleep 1000")
	mapUsers(&cfg)
	chownUpper(t, &cfg)
	c, err := Create(cfg, IO{})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := c.Exec(specs.Process{
		Args: []string{"sh", "-c", "id -u; echo $(cat /proc/self/uid_map) | tee /tmp/self; ulimit -n; stat -c %u /tmp/self; echo out >/dev/stderr"},
		Cwd:  "/", Env: []string{"PATH=/bin"}, Capabilities: cfg.Spec.Process.Capabilities,
		Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 600, Hard: 2000}},
	}, "5:6", nil, IO{Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if string(out) != "5\n0 100000 65536\n600\n5\nout\n" {
		t.Errorf("got %q", out)
	}
	term, err := c.Exec(specs.Process{Args: []string{"sh", "-c", "echo hi >/dev/tty; stat -c %u $(tty)"}, Cwd: "/", Env: []string{"PATH=/bin"}}, "5", nil, IO{Terminal: true})
	if err != nil {
		t.Fatal(err)
	}
	defer term.Console().Close()
	if err := term.Start(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	var all string
	for !strings.Contains(all, "5\r\n") {
		n, err := term.Console().Read(b)
		if all += string(b[:n]); err != nil {
			t.Fatalf("%q, %v", all, err)
		}
	}
	if all != "hi\r\n5\r\n" {
		t.Errorf("terminal: %q", all)
	}
	if _, err := term.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestMappedMounts(t *testing.T) {
	host := t.TempDir()
	writeFile(t, filepath.Join(host, "mine"), "x", 0o600)
	if err := os.Chown(filepath.Join(host, "mine"), 1000, 1000); err != nil {
		t.Fatal(err)
	}
	stat := "stat -c %u:%g /a/mine; touch /a/new; stat -c %u:%g /a/new"
	cfg := sh(t, stat)
	bind(&cfg, host, "/a", "rbind", "idmap")
	m := &cfg.Spec.Mounts[len(cfg.Spec.Mounts)-1]
	m.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 5000, Size: 10000}}
	m.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 1000, HostID: 7, Size: 1}, {ContainerID: 0, HostID: 0, Size: 1}}
	expect(t, cfg, 1, "6000:7\ntouch: /a/new: Value too large for defined data type\nstat: can't stat '/a/new': No such file or directory")
	// With the container's own mappings: to it the files look as they do to the host.
	cfg = sh(t, stat)
	mapUsers(&cfg)
	chownUpper(t, &cfg)
	bind(&cfg, host, "/a", "rbind", "ridmap")
	if err := os.Chmod(host, 0o777); err != nil {
		t.Fatal(err)
	}
	expect(t, cfg, 0, "1000:1000\n0:0")
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(host, "new"), &st); err != nil || st.Uid != 0 {
		t.Errorf("the new file is %d's, %v", st.Uid, err)
	}
}

// TestMountsInOrder has mounts in the order of the document whoever makes them: what comes later hides what came before.
func TestMountsInOrder(t *testing.T) {
	if !inOwnMounts(t) {
		return
	}
	host := t.TempDir()
	for _, d := range []string{"a", "b"} {
		writeFile(t, filepath.Join(host, d), d, 0o644)
	}
	cfg := sh(t, "cat /d/a; ls /d/proc; ls /p/1 >/dev/null && echo proc; cut -d' ' -f5 /proc/self/mountinfo | grep -xE '/(proc|d|d/proc|q|p)'")
	proc := func(at string) {
		cfg.Spec.Mounts = append(cfg.Spec.Mounts, specs.Mount{Destination: at, Type: "proc", Source: "proc"})
	}
	proc("/d/proc")
	bind(&cfg, host, "/d", "rbind")
	tmpfs(&cfg, "/q")
	proc("/p")
	expect(t, cfg, 0, "als: /d/proc: No such file or directory\nproc\n/proc\n/d/proc\n/d\n/q\n/p")
}

func TestJoinedMountNamespace(t *testing.T) {
	if !inOwnMounts(t) {
		return
	}
	other := exec.Command("unshare", "--mount", "sh", "-c", "mount -t tmpfs other /mnt && echo x >/mnt/x && echo ready && exec sleep 1000")
	out, err := other.StdoutPipe()
	if err == nil {
		err = other.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		discard(other.Process.Kill())
		discard(other.Wait())
	}()
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cfg := sh(t, "readlink /proc/self/ns/mnt; cat /other/x")
	file := fmt.Sprintf("/proc/%d/ns/mnt", other.Process.Pid)
	cfg.Spec.Linux.Namespaces[0].Path = file
	bind(&cfg, "/mnt", "/other", "bind")
	want, err := os.Readlink(file)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, cfg, 0, want+"\nx")
	cfg = sh(t, "true")
	cfg.Spec.Linux.Namespaces[0].Path = "/proc/self/ns/net"
	if _, err := Create(cfg, IO{}); err == nil || !strings.Contains(err.Error(), "is no mount namespace") {
		t.Errorf("a namespace of another kind: %v", err)
	}
}

// TestNoMountNamespace has a container whose mounts are the host's: they go with it.
func TestNoMountNamespace(t *testing.T) {
	if !inOwnMounts(t) {
		return
	}
	id, bundle := testBundle(t, "readlink /proc/self/ns/mnt >/seen; ls / >>/seen; sleep 1000", func(s *specs.Spec) {
		s.Root.Readonly = false
		s.Hostname = ""
		s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.CgroupNamespace}}
	})
	b := OpenBundles(filepath.Join(t.TempDir(), "state"))
	before, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Create(id, CreateOptions{Bundle: bundle}); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(id); err != nil {
		t.Fatal(err)
	}
	own, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	var seen []byte
	waitFor(t, "the program", func() bool {
		seen, err = os.ReadFile(filepath.Join(bundle, "rootfs", "seen"))
		return strings.Contains(string(seen), "tmp")
	})
	if !strings.HasPrefix(string(seen), own+"\n") || strings.Contains(string(seen), "\nboot\n") {
		t.Errorf("it saw %q, %v", seen, err)
	}
	p, err := b.Exec(id, ExecOptions{Process: specs.Process{Args: []string{"/bin/sh", "-c", "test -e /seen"}, Cwd: "/"}})
	if err != nil {
		t.Fatal(err)
	}
	if status, err := p.Wait(); err != nil || status.Code != 0 {
		t.Errorf("a further process: %+v, %v", status, err)
	}
	if err := b.Delete(id, true); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile("/proc/thread-self/mountinfo"); err != nil || string(after) != string(before) {
		t.Errorf("left mounts, %v:\n%s", err, after)
	}
}

// TestHostKeepsItsName has a container without a UTS namespace, and one that joins the host's, ask for a name.
func TestHostKeepsItsName(t *testing.T) {
	before, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for what, list := range map[string][]specs.LinuxNamespace{
		"none": nil, "the host's": {{Type: specs.UTSNamespace, Path: "/proc/self/ns/uts"}},
	} {
		cfg := sh(t, "true")
		cfg.Spec.Hostname, cfg.Spec.Domainname = before, "" // the same, should it be given
		cfg.Spec.Linux.Namespaces = append(slices.DeleteFunc(cfg.Spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UTSNamespace }), list...)
		if _, err := Create(cfg, IO{}); err == nil || !strings.Contains(err.Error(), "without a private UTS namespace") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
