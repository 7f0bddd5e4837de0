package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// tmpfs adds a tmpfs mount with Docker's default options.
func tmpfs(c *Config, target string, options ...string) {
	c.Spec.Mounts = append(c.Spec.Mounts, specs.Mount{Type: "tmpfs", Source: "tmpfs", Destination: target, Options: append([]string{"noexec", "nosuid", "nodev"}, options...)})
}

// TestTmpfs: RN-9.
func TestTmpfs(t *testing.T) {
	cfg := sh(t, `grep ' /t ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1-4; stat -c %a /t; ls /t; grep ' /u ' /proc/mounts | grep -c noexec; stat -c %a /u; dd if=/dev/zero of=/u/x bs=1M count=2 2>&1 | grep -o "No space left"; grep -c ' /opt/deep ' /proc/mounts`)
	writeFile(t, filepath.Join(cfg.Overlay.Upper, "t/x"), "hidden", 0o644)
	if err := os.Symlink("/opt", filepath.Join(cfg.Overlay.Upper, "l")); err != nil {
		t.Fatal(err)
	}
	tmpfs(&cfg, "/t")
	tmpfs(&cfg, "/u", "exec", "size=1m", "mode=700")
	tmpfs(&cfg, "/l/deep")
	expect(t, cfg, 0, "rw,nosuid,nodev,noexec\n1777\n0\n700\nNo space left\n1")
	if _, err := os.Stat("/opt/deep"); err == nil {
		t.Error("a mount point was made on the host")
	}
}

func TestTmpfsWithCopy(t *testing.T) {
	cfg := sh(t, `stat -c '%a %u' /t /t/d; stat -c '%a %u %Y' /t/d/f; cat /t/d/f; readlink /t/l`)
	dir := filepath.Join(cfg.Overlay.Upper, "t")
	writeFile(t, filepath.Join(dir, "d/f"), "content\n", os.ModeSetuid|0o750)
	if err := errors.Join(os.Symlink("d/f", filepath.Join(dir, "l")), os.Chmod(dir, 0o711), os.Chown(filepath.Join(dir, "d"), 5, 6),
		os.Chtimes(filepath.Join(dir, "d/f"), time.Unix(1000, 0), time.Unix(1000000000, 0))); err != nil {
		t.Fatal(err)
	}
	tmpfs(&cfg, "/t", "tmpcopyup")
	tmpfs(&cfg, "/absent", "tmpcopyup")
	expect(t, cfg, 0, "711 0\n755 5\n4750 0 1000000000\ncontent\nd/f")
}

// TestBinds: RN-8, RN-11: links are resolved inside, missing targets are made, files and folders both go.
func TestBinds(t *testing.T) {
	src := t.TempDir()
	writeFile(t, filepath.Join(src, "f"), "content\n", 0o644)
	writeFile(t, filepath.Join(src, "sub/g"), "below\n", 0o644)
	cfg := sh(t, `cat /home/foo/f /dangling/x/f /file /m/b/g; echo x >/ro/new; echo x >/ro/sub/new; cat /climb/f; ls -d /made/deep/here`)
	up := cfg.Overlay.Upper
	for link, target := range map[string]string{"bar": "home", "dangling": "/not/there/yet", "up": "../../../../.."} {
		if err := os.Symlink(target, filepath.Join(up, link)); err != nil {
			t.Fatal(err)
		}
	}
	bind(&cfg, src, "/bar/foo")
	bind(&cfg, src, "/dangling/x")
	bind(&cfg, filepath.Join(src, "f"), "/file")
	bind(&cfg, src, "/m")
	bind(&cfg, filepath.Join(src, "sub"), "/m/b")
	bind(&cfg, src, "/ro", "rro")
	bind(&cfg, src, "/up/climb")
	bind(&cfg, src, "/made/deep/here")
	expect(t, cfg, 0, "content\ncontent\ncontent\nbelow\nsh: line 0: can't create /ro/new: Read-only file system\nsh: line 0: can't create /ro/sub/new: Read-only file system\ncontent\n/made/deep/here")
	if _, err := os.Stat("/climb"); err == nil {
		t.Error("a mount point was made on the host")
	}
	if _, err := os.Stat(filepath.Join(up, "not/there/yet/x")); err != nil {
		t.Errorf("the dangling link's target was not made inside: %v", err)
	}
}

// TestBindOfTheHostsRoot: the root shows the host, not the container that was attached to it, by whatever name and with
// whatever propagation; what is mounted below a private one is not the host's.
func TestBindOfTheHostsRoot(t *testing.T) {
	if os.Getenv("COVE_OWN_MOUNTS") == "" {
		inOwnMounts(t)
		return
	}
	needRoot(t)
	if err := syscall.Mount("", "/", "", syscall.MS_SHARED|syscall.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	dir, root := t.TempDir(), filepath.Join(t.TempDir(), "root")
	writeFile(t, filepath.Join(dir, "f"), "the host's\n", 0o644)
	if err := os.Symlink("/", root); err != nil {
		t.Fatal(err)
	}
	cfg := sh(t, fmt.Sprintf(`for r in plain linked private slave shared alone; do cat /$r%s/f; done; grep -c '^none /[a-z][a-z]* overlay' /proc/mounts; mount -t tmpfs x /plain%[1]s && mount -t tmpfs x /private%[1]s && echo mounted`, dir))
	for _, set := range []*[]string{&cfg.Spec.Process.Capabilities.Bounding, &cfg.Spec.Process.Capabilities.Effective, &cfg.Spec.Process.Capabilities.Permitted} {
		*set = append(*set, "CAP_SYS_ADMIN")
	}
	bind(&cfg, "/", "/plain")
	bind(&cfg, root, "/linked", "ro")
	bind(&cfg, "/", "/private", "rprivate")
	bind(&cfg, "/", "/slave", "rslave", "rro")
	bind(&cfg, "/", "/shared", "rshared")
	cfg.Spec.Mounts = append(cfg.Spec.Mounts, specs.Mount{Type: "bind", Source: "/", Destination: "/alone", Options: []string{"bind"}})
	expect(t, cfg, 0, strings.Repeat("the host's\n", 6)+"0\nmounted")
	if _, err := os.Stat(filepath.Join(dir, "f")); err != nil {
		t.Errorf("a mount of the container is the host's: %v", err)
	}
}

func TestBindOfWrongKind(t *testing.T) {
	for target, source := range map[string]string{"/bin": "/etc/passwd", "/etc/passwd": "/etc"} {
		cfg := sh(t, "true")
		bind(&cfg, source, target)
		_, err := Create(cfg, IO{})
		want := fmt.Sprintf("error mounting %q to rootfs at %q: not a directory", source, target)
		var failed *StartError
		if !errors.As(err, &failed) || failed.Code != 126 || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	cfg := sh(t, "true")
	bind(&cfg, "/etc", "/")
	if _, err := Create(cfg, IO{}); err == nil {
		t.Error("a mount over the root is accepted")
	}
	cfg = sh(t, "true")
	if err := os.Symlink("/tmp", filepath.Join(cfg.Overlay.Upper, "proc")); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(cfg, IO{}); err == nil || !strings.Contains(err.Error(), "ordinary directory") {
		t.Errorf("proc over a link: %v", err)
	}
}

// TestReadOnlyRoot: RN-8.
func TestReadOnlyRoot(t *testing.T) {
	cfg := sh(t, `touch /f; touch /run/a /dev/shm/a /new/place/a && echo ok; pwd`)
	cfg.Spec.Root.Readonly = true
	cfg.Spec.Process.Cwd = "/work/here"
	tmpfs(&cfg, "/run")
	bind(&cfg, t.TempDir(), "/new/place")
	expect(t, cfg, 0, "touch: /f: Read-only file system\nok\n/work/here")
	cfg = sh(t, "touch /f")
	cfg.Overlay.Upper, cfg.Overlay.Work = "", ""
	// An overlay needs two layers when it has no writable one.
	cfg.Overlay.Lower = append([]string{skeleton(t)}, cfg.Overlay.Lower...)
	expect(t, cfg, 1, "touch: /f: Read-only file system")
}

// skeleton is a layer with the folders the standard mounts need.
func skeleton(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"proc", "dev", "sys"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPlainFolderAsRoot(t *testing.T) {
	cfg := sh(t, "cat /only; echo changed >/only; grep -c . /proc/1/mountinfo >/dev/null && echo mounts")
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(busybox(t))); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(root, "only"), "here\n", 0o644)
	cfg.Overlay, cfg.Bundle, cfg.Spec.Root.Path = nil, filepath.Dir(root), filepath.Base(root)
	expect(t, cfg, 0, "here\nmounts")
	if b, _ := os.ReadFile(filepath.Join(root, "only")); string(b) != "changed\n" {
		t.Errorf("the folder has %q", b)
	}
}

func TestProtectedPaths(t *testing.T) {
	cfg := sh(t, `cat /proc/keys | wc -c; ls /sys/firmware | wc -l; echo 1 >/proc/sys/kernel/shmmax; touch /sys/x; chmod 777 /proc/keys; mount -o remount,rw /proc/sys`)
	expect(t, cfg, 1, `0
0
sh: line 0: can't create /proc/sys/kernel/shmmax: Read-only file system
touch: /sys/x: Read-only file system
chmod: /proc/keys: Read-only file system
mount: permission denied (are you root?)`)
}

func TestDevices(t *testing.T) {
	cfg := sh(t, `for d in null zero full random urandom tty fuse; do stat -c '%n %a %t:%T %u' /dev/$d; done; for l in ptmx fd stdin; do readlink /dev/$l; done; cat /dev/sub/zero | head -c 2 | wc -c; echo x >/dev/fuse`)
	mode := os.FileMode(0o600)
	cfg.Spec.Linux.Devices = []specs.LinuxDevice{
		{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: &mode, UID: ptr(uint32(7)), GID: ptr(uint32(8))},
		{Path: "/dev/sub/zero", Type: "c", Major: 1, Minor: 5},
	}
	cfg.Spec.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		{Allow: true, Type: "c", Access: "m"},
		{Allow: true, Type: "c", Major: ptr(int64(1)), Access: "rwm"},
	}
	expect(t, cfg, 1, `/dev/null 666 1:3 0
/dev/zero 666 1:5 0
/dev/full 666 1:7 0
/dev/random 666 1:8 0
/dev/urandom 666 1:9 0
/dev/tty 666 5:0 0
/dev/fuse 600 a:e5 7
pts/ptmx
/proc/self/fd
/proc/self/fd/0
2
sh: line 0: can't create /dev/fuse: Operation not permitted`)
}

// TestSharedMemory: --ipc container:X binds another container's /dev/shm, which is in no namespace but its own.
func TestSharedMemory(t *testing.T) {
	first, err := Create(testConfig(t, busybox(t), "sh", "-c", "echo shared >/dev/shm/x; sleep 100"), IO{})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, first)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	shm := fmt.Sprintf("/proc/%d/root/dev/shm", first.Pid())
	waitFor(t, "the first container", func() bool { _, err := os.Stat(shm + "/x"); return err == nil })
	cfg := sh(t, "cat /dev/shm/x; readlink /proc/self/ns/ipc")
	for i, m := range cfg.Spec.Mounts {
		if m.Destination == "/dev/shm" {
			cfg.Spec.Mounts[i] = specs.Mount{Type: "bind", Source: shm, Destination: "/dev/shm", Options: []string{"rbind", "rprivate"}}
		}
	}
	for i, n := range cfg.Spec.Linux.Namespaces {
		if n.Type == specs.IPCNamespace {
			cfg.Spec.Linux.Namespaces[i].Path = fmt.Sprintf("/proc/%d/ns/ipc", first.Pid())
		}
	}
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/ipc", first.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, cfg, 0, "shared\n"+ns)
}

// TestNamespaces: host namespaces and those of another container.
func TestNamespaces(t *testing.T) {
	first, err := Create(testConfig(t, busybox(t), "sleep", "100"), IO{})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, first)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	for kind, flag := range map[specs.LinuxNamespaceType]string{
		specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.UTSNamespace: "uts", specs.IPCNamespace: "ipc", specs.CgroupNamespace: "cgroup",
	} {
		for _, path := range []string{"", fmt.Sprintf("/proc/%d/ns/%s", first.Pid(), flag)} {
			cfg := sh(t, "readlink /proc/self/ns/"+flag)
			cfg.Spec.Hostname = ""
			for i, n := range cfg.Spec.Linux.Namespaces {
				if n.Type != kind {
					continue
				}
				if cfg.Spec.Linux.Namespaces[i].Path = path; path == "" {
					path = "/proc/self/ns/" + flag
					cfg.Spec.Linux.Namespaces = append(cfg.Spec.Linux.Namespaces[:i], cfg.Spec.Linux.Namespaces[i+1:]...)
				}
				break
			}
			want, err := os.Readlink(path)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, cfg, 0, want)
		}
	}
	// A network namespace by descriptor.
	netns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", first.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	defer netns.Close()
	cfg := sh(t, "readlink /proc/self/ns/net")
	cfg.NetNS = netns
	want, _ := os.Readlink(netns.Name())
	expect(t, cfg, 0, want)
}

func TestTimeNamespace(t *testing.T) {
	if _, err := os.Stat("/proc/self/ns/time"); err != nil {
		t.Skip("needs time namespaces")
	}
	cfg := testConfig(t, busybox(t), "sleep", "100")
	cfg.Spec.Linux.Namespaces = append(cfg.Spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	cfg.Spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 1_000_000_000}}
	c, err := Create(cfg, IO{})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	r, w, _ := os.Pipe()
	defer r.Close()
	p, err := c.Exec(specs.Process{Args: []string{"/bin/cat", "/proc/uptime"}, Cwd: "/"}, "0", nil, IO{Stdout: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	var up float64
	if _, err := fmt.Fscan(r, &up); err != nil || up < 1_000_000_000 {
		t.Errorf("uptime %f, %v", up, err)
	}
	if _, err := p.Wait(); err != nil {
		t.Error(err)
	}
}

// TestPropagation: a mount made on the host shows up below a bind that follows the host, and below no other.
func TestPropagation(t *testing.T) {
	if os.Getenv("COVE_OWN_MOUNTS") == "" {
		inOwnMounts(t)
		return
	}
	needRoot(t)
	shared := t.TempDir()
	t.Cleanup(func() {
		_ = syscall.Unmount(filepath.Join(shared, "m"), syscall.MNT_DETACH)
		_ = syscall.Unmount(shared, syscall.MNT_DETACH)
	})
	if err := errors.Join(syscall.Mount(shared, shared, "", syscall.MS_BIND, ""), syscall.Mount("", shared, "", syscall.MS_SHARED, "")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(shared, "m"), 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := sh(t, "mkdir /shared/from && mount -t tmpfs x /shared/from; read x; grep -c ' /slave/m ' /proc/mounts; grep -c ' /private/m ' /proc/mounts")
	for _, set := range []*[]string{&cfg.Spec.Process.Capabilities.Bounding, &cfg.Spec.Process.Capabilities.Effective, &cfg.Spec.Process.Capabilities.Permitted} {
		*set = append(*set, "CAP_SYS_ADMIN")
	}
	bind(&cfg, shared, "/shared", "rshared")
	bind(&cfg, shared, "/slave", "rslave")
	bind(&cfg, shared, "/private", "rprivate")
	inR, inW, _ := os.Pipe()
	outR, outW, _ := os.Pipe()
	c, err := Create(cfg, IO{Stdin: inR, Stdout: outW})
	outW.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", filepath.Join(shared, "m"), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(inW)
	var slave, private int
	if _, err := fmt.Fscan(outR, &slave, &private); err != nil || slave != 1 || private != 0 {
		t.Errorf("got %d and %d, %v", slave, private, err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || !strings.Contains(string(mounts), " "+filepath.Join(shared, "from")+" ") {
		t.Errorf("the container's mount does not show outside: %v", err)
	}
}
