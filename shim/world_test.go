package shim

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/logs"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/testkit"
)

// TestMain lets the test's own binary play the supervisor and the daemon that is killed.
func TestMain(m *testing.M) {
	if runtime.IsInit(os.Args) {
		os.Exit(runtime.Init(os.Args))
	}
	if len(os.Args) > 1 && os.Args[1] == "shim" {
		os.Exit(Main(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "steps" {
		os.Exit(StepsMain())
	}
	if len(os.Args) > 1 && os.Args[1] == "play-daemon" {
		os.Exit(playDaemon(os.Args[2]))
	}
	os.Exit(m.Run())
}

// world is one Keeper and the root of its containers.
type world struct {
	*Keeper
	t     testing.TB
	dir   string
	lower string
}

var serial atomic.Int64

func newWorld(t testing.TB) *world {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: starts containers")
	}
	w := &world{t: t, dir: t.TempDir()}
	w.lower = w.busybox()
	w.Keeper = w.open()
	return w
}

func (w *world) open() *Keeper {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	if binary := os.Getenv("COVE_RUNTIME"); binary != "" { // benchmarks of the real one
		self = binary
	}
	// A path that is longer than the address of a socket may be.
	k, err := Open(filepath.Join(w.dir, strings.Repeat("long", 30), "shim"), self)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = k.Close() })
	return k
}

func (w *world) busybox() string {
	w.t.Helper()
	images, err := testkit.Images("..")
	if err != nil {
		w.t.Skip(err)
	}
	file, err := os.Open(filepath.Join(images, "busybox.tar"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer file.Close()
	image, err := testkit.FromLayout(file, "amd64")
	if err != nil {
		w.t.Fatal(err)
	}
	lower := filepath.Join(w.dir, "lower")
	if err := os.Mkdir(lower, 0o755); err != nil {
		w.t.Fatal(err)
	}
	root, err := os.Open(lower)
	if err != nil {
		w.t.Fatal(err)
	}
	defer root.Close()
	for _, layer := range image.Layers {
		plain, err := archive.Decompress(bytes.NewReader(layer))
		if err == nil {
			_, err = archive.Unpack(w.t.Context(), root, plain, archive.Options{})
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return lower
}

// id makes a container's name of full length.
func newID() string {
	return fmt.Sprintf("%064x", uint64(os.Getpid())<<24|uint64(serial.Add(1)))
}

// config of a container that runs a shell script.
func (w *world) config(id, script string) Config {
	dir := filepath.Join(w.dir, id)
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
	return Config{
		Spec:    document(id, "sh", "-c", script),
		Overlay: &Overlay{Lower: []string{w.lower}, Upper: upper, Work: work},
		User:    "0",
		Log:     logs.Config{Driver: logs.JSONFile, Path: filepath.Join(dir, "json.log")},
	}
}

func document(id string, args ...string) *specs.Spec {
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT"}
	var namespaces []specs.LinuxNamespace
	for _, n := range []specs.LinuxNamespaceType{
		specs.MountNamespace, specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.NetworkNamespace,
	} {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: n})
	}
	usual := []string{"nosuid", "noexec", "nodev"}
	return &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Root: &specs.Root{Path: "rootfs"},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: usual},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: append(usual, "mode=1777", "size=65536k")},
		},
		Linux: &specs.Linux{
			CgroupsPath: "/cove-test-" + id,
			Namespaces:  namespaces,
			Resources:   &specs.LinuxResources{},
		},
	}
}

// launch starts a container, as change has it, and deletes it at the end of the test.
func (w *world) launch(script string, change func(cfg *Config)) (*Shim, Config) {
	w.t.Helper()
	id := newID()
	s, err := w.Launch(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Delete(background) })
	cfg := w.config(id, script)
	if change != nil {
		change(&cfg)
	}
	return s, cfg
}

func (w *world) run(s *Shim, cfg Config) {
	w.t.Helper()
	if _, err := s.Create(w.t.Context(), cfg); err != nil {
		w.t.Fatal(err)
	}
	if err := s.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wait(s *Shim) Exit {
	w.t.Helper()
	select {
	case <-s.Done():
	case <-time.After(20 * time.Second):
		w.t.Fatal("the container does not end")
	}
	exit, err := s.Wait(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return exit
}

func (w *world) attach(s *Shim, proc string, o AttachOptions) *Stream {
	w.t.Helper()
	stream, err := s.Attach(w.t.Context(), proc, o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = stream.Close() })
	return stream
}

func (w *world) logged(cfg Config) string {
	w.t.Helper()
	var out strings.Builder
	q := logs.Query{Tail: -1, Stdout: true, Stderr: true}
	if err := logs.Read(w.t.Context(), cfg.Log, q, nil, func(l logs.Line) error { out.Write(l.Data); return nil }); err != nil {
		w.t.Fatal(err)
	}
	return out.String()
}

var outputs = AttachOptions{Stdout: true, Stderr: true}

// split reads docker's frames to the end.
func split(r io.Reader) (stdout, stderr []byte, err error) {
	b := bufio.NewReader(r)
	var both [3]bytes.Buffer
	h := make([]byte, 8)
	for {
		if _, err = io.ReadFull(b, h); err != nil {
			break
		}
		if h[0] > 2 {
			return nil, nil, fmt.Errorf("frame of stream %d", h[0])
		}
		if _, err = io.CopyN(&both[h[0]], b, int64(binary.BigEndian.Uint32(h[4:]))); err != nil {
			break
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return both[1].Bytes(), both[2].Bytes(), err
}

// played is what the test gives the daemon it will kill.
type played struct {
	Dir        string // of the Keeper
	Containers map[string]Config
	Half       string // the id of one that is created, not started
	Exec       string // a script to run in each
}

// playDaemon launches containers and then waits to be killed.
func playDaemon(text string) int {
	var p played
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		fmt.Println(err)
		return 1
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	k, err := Open(p.Dir, self)
	for id, cfg := range p.Containers {
		var s *Shim
		if err == nil {
			s, err = k.Launch(background, id)
		}
		if err == nil {
			_, err = s.Create(background, cfg)
		}
		if err != nil || id == p.Half {
			continue
		}
		if err = s.Start(background); err == nil && p.Exec != "" {
			probe := execConfig(p.Exec)
			probe.Stdin = true
			err = s.Exec(background, "probe", probe)
		}
		if err == nil && p.Exec != "" {
			_, err = s.Attach(background, "probe", AttachOptions{Stdin: true, Stdout: true})
		}
		if err == nil && p.Exec != "" {
			_, err = s.ExecStart(background, "probe")
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	select {}
}

func execConfig(script string) ExecConfig {
	return ExecConfig{
		Process: specs.Process{Args: []string{"sh", "-c", script}, Cwd: "/", Env: []string{"PATH=/bin:/usr/bin"}},
		User:    "0", Note: json.RawMessage(`{"who":"test"}`),
	}
}

// killedDaemon plays a daemon and kills it once all is running.
func (w *world) killedDaemon(p played) {
	w.t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		w.t.Fatal(err)
	}
	self, _ := os.Executable()
	daemon := exec.Command(self, "play-daemon", string(text))
	out, err := daemon.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	daemon.Stderr = os.Stderr
	if err := daemon.Start(); err != nil {
		w.t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	_ = daemon.Process.Kill()
	_ = daemon.Wait()
	if line != "ready\n" {
		w.t.Fatalf("the daemon says %q", line)
	}
}
