package runtime

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestMain(m *testing.M) {
	if IsInit(os.Args) {
		os.Exit(Init(os.Args))
	}
	dir, err := os.MkdirTemp("", "cove-runtime-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared.dir = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// shared is the busybox image's root, unpacked once for all tests, which use it as a lower layer.
var shared struct {
	dir  string
	once sync.Once
	err  error
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes namespaces and mounts")
	}
}

func busybox(t testing.TB) string {
	t.Helper()
	needRoot(t)
	dir := os.Getenv("COVE_TEST_IMAGES")
	if dir == "" {
		dir = "../../shared/images"
	}
	image := filepath.Join(dir, "busybox.tar")
	if _, err := os.Stat(image); err != nil {
		t.Skipf("needs the busybox image: %v", err)
	}
	root := filepath.Join(shared.dir, "busybox")
	shared.once.Do(func() { shared.err = unpackImage(image, root) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return root
}

func unpackImage(image, root string) error {
	blobs, err := readTar(image)
	if err != nil {
		return err
	}
	var index ocispec.Index
	if err := json.Unmarshal(blobs["index.json"], &index); err != nil {
		return err
	}
	blob := func(d ocispec.Descriptor) []byte { return blobs["blobs/sha256/"+d.Digest.Encoded()] }
	for index.Manifests[0].MediaType == ocispec.MediaTypeImageIndex || index.Manifests[0].Platform == nil {
		d := index.Manifests[0]
		index = ocispec.Index{}
		if err := json.Unmarshal(blob(d), &index); err != nil {
			return err
		}
	}
	for _, d := range index.Manifests {
		if d.Platform.Architecture != "amd64" {
			continue
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(blob(d), &m); err != nil {
			return err
		}
		for _, l := range m.Layers {
			if err := unpackLayer(blob(l), root); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.New("no amd64 image")
}

func readTar(name string) (map[string][]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if out[strings.TrimPrefix(h.Name, "./")], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
}

func unpackLayer(layer []byte, root string) error {
	z, err := gzip.NewReader(strings.NewReader(string(layer)))
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.Join(root, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = errors.Join(os.MkdirAll(name, 0o755), os.Chmod(name, h.FileInfo().Mode()))
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, name)
		case tar.TypeLink:
			err = os.Link(filepath.Join(root, h.Linkname), name)
		case tar.TypeReg:
			var f *os.File
			if f, err = os.OpenFile(name, os.O_CREATE|os.O_WRONLY, h.FileInfo().Mode()); err == nil {
				_, err = io.Copy(f, r)
				err = errors.Join(err, f.Close())
			}
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", h.Name, err)
		}
	}
}

// serial makes names unique within this process.
var serial atomic.Int64

// testContainer is a container's configuration as Docker would make it, and where it lives.
func testConfig(t testing.TB, lower string, args ...string) Config {
	t.Helper()
	dir := t.TempDir()
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, d := range []string{upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	id := fmt.Sprintf("cove-test-%d-%d", os.Getpid(), serial.Add(1))
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
		"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"}
	var namespaces []specs.LinuxNamespace
	for _, n := range []specs.LinuxNamespaceType{specs.MountNamespace, specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.NetworkNamespace, specs.CgroupNamespace} {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: n})
	}
	return Config{
		ID:      id,
		Overlay: &Overlay{Lower: []string{lower}, Upper: upper, Work: work},
		Spec: &specs.Spec{
			Version: specs.Version,
			Process: &specs.Process{
				Args: args, Cwd: "/", Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
				Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			},
			Root:     &specs.Root{Path: "rootfs"},
			Hostname: "box",
			Mounts: []specs.Mount{
				{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
				{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
				{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
				{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
				{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
				{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
				{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			},
			Linux: &specs.Linux{
				CgroupsPath: "/" + id,
				Namespaces:  namespaces,
				Resources:   &specs.LinuxResources{},
				MaskedPaths: []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
					"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"},
				ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			},
		},
	}
}

// result is how a container ended and what it wrote.
type result struct {
	status ExitStatus
	out    string
}

// runContainer runs a container to its end.
func runContainer(t testing.TB, cfg Config) result {
	t.Helper()
	res, err := tryContainer(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func tryContainer(t testing.TB, cfg Config) (result, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := Create(cfg, IO{Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		return result{}, err
	}
	defer func() {
		if err := c.Destroy(); err != nil {
			t.Error(err)
		}
	}()
	if err := c.Start(); err != nil {
		return result{}, err
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	status, err := c.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return result{status, string(out)}, nil
}
