package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// noDevice is a device without a driver: opening it fails in a way of its own.
var noDevice = int(unix.Mkdev(10, 250))

// TestDeviceInPlaceOfAccounts: the runtime may open any device, and for some that alone does harm.
func TestDeviceInPlaceOfAccounts(t *testing.T) {
	cfg := sh(t, "echo ok")
	cfg.User = "0"
	etc := filepath.Join(cfg.Overlay.Upper, "etc")
	if err := os.Mkdir(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"passwd", "group"} {
		if err := unix.Mknod(filepath.Join(etc, name), unix.S_IFCHR|0o644, noDevice); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, cfg, 0, "ok")
}

// TestDeviceInPlaceOfTerminals: an image whose /dev is a link lets its container put devices of its own there.
func TestDeviceInPlaceOfTerminals(t *testing.T) {
	cfg := sh(t, "mv /a /b; mkdir -p /a/dev/pts; mknod /a/dev/pts/ptmx c 1 3; echo >/ready; sleep 100")
	if err := os.Symlink("/a/dev", filepath.Join(cfg.Overlay.Upper, "dev")); err != nil {
		t.Fatal(err)
	}
	c, err := Create(cfg, IO{})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the exchange", func() bool { _, err := os.Stat(filepath.Join(cfg.Overlay.Upper, "ready")); return err == nil })
	_, err = c.Exec(specs.Process{Args: []string{"/bin/true"}}, "0", nil, IO{Terminal: true})
	if err == nil || !strings.Contains(err.Error(), "no terminal multiplexer") {
		t.Errorf("exec with a terminal: %v", err)
	}
}

// TestWorkingDirectoryOfDescriptors: what the runtime has open leads out of the container.
func TestWorkingDirectoryOfDescriptors(t *testing.T) {
	cfg := sh(t, "exit 0")
	if err := os.Symlink("/proc/self/fd/1", filepath.Join(cfg.Overlay.Upper, "out")); err != nil {
		t.Fatal(err)
	}
	for _, cwd := range []string{"/proc/self/fd/0", "/proc/self/cwd", "/proc/1/root/tmp", "/out"} {
		cfg.Spec.Process.Cwd = cwd
		if _, err := tryContainer(t, cfg); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v", cwd, err)
		}
	}
}

// TestParametersOfTheHost: a document cannot change what the host has not given away.
func TestParametersOfTheHost(t *testing.T) {
	for _, name := range []string{"vm.panic_on_oom", "kernel.core_pattern", "fs.file-max", "net.ipv4.ip_forward", "kernel/core_pattern", "kernel.shmmax"} {
		cfg := sh(t, "exit 0")
		cfg.Spec.Linux.Namespaces = cfg.Spec.Linux.Namespaces[:2] // mount, pid
		cfg.Spec.Hostname = ""
		current, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Spec.Linux.Sysctl = map[string]string{name: string(current)}
		if _, err := tryContainer(t, cfg); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSubpathStaysInside: who writes to a volume cannot lead the part of it that another container gets out of it.
func TestSubpathStaysInside(t *testing.T) {
	volume := t.TempDir()
	if err := os.MkdirAll(filepath.Join(volume, "etc/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(volume, "etc/mine"), "", 0o644)
	for name, to := range map[string]string{"absolute": "/etc", "climbing": "../../../../../../etc/deep/.."} {
		if err := os.Symlink(to, filepath.Join(volume, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"etc", "absolute", "climbing", "../../../etc"} {
		cfg := sh(t, "ls /shown")
		cfg.Spec.Mounts = append(cfg.Spec.Mounts, specs.Mount{
			Destination: "/shown", Type: "bind", Source: volume, Options: []string{"rbind", "rprivate", "x-cove.subpath=" + path},
		})
		expect(t, cfg, 0, "deep\nmine")
	}
}

// TestBundleDevices: a bundle that says nothing of devices does not open the host's to its container, and one that
// denies all leaves it those that every container has.
func TestBundleDevices(t *testing.T) {
	for name, rules := range map[string][]specs.LinuxDeviceCgroup{"silent": nil, "deny": {{Access: "rwm"}}} {
		// Only the older controller shows its rules.
		script := "(cat /dev/null; grep -s ^a /sys/fs/cgroup/devices/devices.list; echo end) >/out 2>&1"
		b := OpenBundles(t.TempDir())
		id, bundle := testBundle(t, script, func(s *specs.Spec) { s.Linux.Resources = &specs.LinuxResources{Devices: rules} })
		c, err := b.Create(id, CreateOptions{Bundle: bundle})
		if err != nil {
			t.Fatal(err)
		}
		defer destroy(t, c)
		if err := b.Start(id); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Wait(); err != nil {
			t.Fatal(err)
		}
		if out, err := os.ReadFile(filepath.Join(bundle, "rootfs/out")); string(out) != "end\n" || err != nil {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}
