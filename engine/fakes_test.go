package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"
	vt "github.com/moby/moby/api/types/volume"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/network"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/shim"
	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/volume"
)

var errInjected = errors.New("injected fault")

// world stands in for the kernel: it counts what exists, and lets the n-th step fail.
type world struct {
	mu      sync.Mutex
	step    int
	failAt  int
	layers  map[string]bool
	joined  map[string]bool
	entered map[string]bool
	volumes map[string]bool
	// nameless are the anonymous ones among the volumes.
	nameless map[string]bool
	users    map[string][]string
	shims    map[string]*fakeShim
	config   ct.Config
	// remembered are the addresses that the networks were told of, by container and network.
	remembered map[string]map[string]netip.Addr
	// atDelete and atAttach are called when a supervisor is asked for that; nil is nothing.
	atDelete, atAttach func()
}

func call(hook func()) {
	if hook != nil {
		hook()
	}
}

func newWorld() *world {
	return &world{
		layers: map[string]bool{}, joined: map[string]bool{}, entered: map[string]bool{}, volumes: map[string]bool{}, users: map[string][]string{},
		nameless: map[string]bool{}, shims: map[string]*fakeShim{}, remembered: map[string]map[string]netip.Addr{},
		config: ct.Config{Cmd: []string{"/bin/true"}},
	}
}

// try counts a step and tells whether it is the one to fail.
func (w *world) try() error {
	w.step++
	if w.step == w.failAt {
		return errInjected
	}
	return nil
}

// in runs a step of the world.
func (w *world) in(step func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.try(); err != nil {
		return err
	}
	step()
	return nil
}

// leftovers names everything that exists.
func (w *world) leftovers() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for id := range w.layers {
		out = append(out, "layer "+id[:6])
	}
	for id := range w.joined {
		out = append(out, "network of "+id[:6])
	}
	for id := range w.entered {
		out = append(out, "mounted volume of "+id[:6])
	}
	for id := range w.shims {
		out = append(out, "supervisor "+id[:6])
	}
	for name := range w.volumes {
		out = append(out, "volume "+name)
	}
	for name, users := range w.users {
		if len(users) > 0 {
			out = append(out, "use of "+name)
		}
	}
	slices.Sort(out)
	return out
}

type fakeImages struct{ *world }

func (f fakeImages) Get(_ context.Context, ref string, _ *ocispec.Platform) (*image.Image, error) {
	if ref != "busybox" {
		return nil, errdefs.ErrNotFound.WithMessage("No such image: " + ref)
	}
	img := &image.Image{ID: digest.FromString("image")}
	img.Config.Config.Cmd, img.Config.Config.Volumes = f.config.Cmd, f.config.Volumes
	return img, f.in(func() {})
}

func (f fakeImages) Unpacked(context.Context, *image.Image) error { return f.in(func() {}) }

type fakeLayers struct{ *world }

func (f fakeLayers) Create(_ context.Context, id string, _ []digest.Digest) error {
	return f.in(func() { f.layers[id] = true })
}

func (f fakeLayers) Stack(context.Context, []digest.Digest) ([]string, error) {
	return nil, f.in(func() {})
}

func (f fakeLayers) Overlay(string) ([]string, string, string, error) {
	return []string{"/lower"}, "/upper", "/work", f.in(func() {})
}

func (f fakeLayers) Look(_ context.Context, _ string, see func(*os.File) error) error {
	if err := f.in(func() {}); err != nil {
		return err
	}
	dir, err := os.Open("/")
	if err != nil {
		return err
	}
	defer dir.Close()
	return see(dir)
}

func (f fakeLayers) Bound(string, map[string]string) error { return f.in(func() {}) }

func (f fakeLayers) Mounted(string) {}

func (f fakeLayers) Delete(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.layers, id)
	return nil
}

func (f fakeLayers) Drop(ctx context.Context, id string) error { return f.Delete(ctx, id) }

func (f fakeLayers) Writable() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for id := range f.layers {
		out = append(out, id)
	}
	return out
}

type fakeNetworks struct{ *world }

func (f fakeNetworks) Validate(network.Request) error { return f.in(func() {}) }
func (f fakeNetworks) HostGateways() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("10.0.0.1")}
}
func (f fakeNetworks) Sweep() error                    { return nil }
func (f fakeNetworks) Rename(containerID, name string) {}
func (f fakeNetworks) Forget(containerID string)       {}
func (f fakeNetworks) Called(ref string) string        { return ref }

func (f fakeNetworks) Remember(containerID string, last map[string]netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remembered[containerID] = last
}

func (f fakeNetworks) Join(_ context.Context, id string, r network.Request) (*network.Sandbox, error) {
	err := f.in(func() { f.joined[id] = true })
	if err != nil {
		return nil, err
	}
	endpoints := map[string]*nt.EndpointSettings{}
	for name, wish := range r.Networks {
		endpoints[name] = wish.Copy()
		endpoints[name].IPAddress = netip.MustParseAddr("10.0.0.2")
	}
	return &network.Sandbox{ID: "box-" + id, Endpoints: endpoints}, nil
}

func (f fakeNetworks) Leave(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.joined, id)
	return nil
}

func (f fakeNetworks) Restore(id string, _ network.Sandbox, _ network.Request) error {
	return f.in(func() { f.joined[id] = true })
}

type fakeVolumes struct{ *world }

func (f fakeVolumes) Create(_ context.Context, r vt.CreateRequest) (vt.Volume, error) {
	_, anonymous := r.Labels["com.docker.volume.anonymous"]
	return vt.Volume{Name: r.Name, Driver: "local", Mountpoint: "/volumes/" + r.Name}, f.in(func() {
		f.volumes[r.Name], f.nameless[r.Name] = true, anonymous
	})
}

func (f fakeVolumes) Remove(_ context.Context, name string, _ bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.users[name]) > 0 {
		return errdefs.ErrConflict.WithMessage("volume is in use")
	}
	delete(f.volumes, name)
	return nil
}

func (f fakeVolumes) CopyUp(context.Context, string, *os.File, string) (bool, error) {
	return true, f.in(func() {})
}

func (f fakeVolumes) Mount(name string) (volume.Mount, error) {
	return volume.Mount{Type: "bind", Source: "/volumes/" + name}, f.in(func() {})
}

func (f fakeVolumes) Enter(name, id string) error { return f.in(func() { f.entered[id] = true }) }

func (f fakeVolumes) Leave(name, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.entered, id)
}

func (f fakeVolumes) Resume(string, string, *os.File) {}

func (f fakeVolumes) Get(name string) (vt.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.volumes[name] {
		return vt.Volume{}, errdefs.ErrNotFound
	}
	return vt.Volume{Name: name}, nil
}

func (f fakeVolumes) Use(name, id string) error {
	return f.in(func() { f.users[name] = append(f.users[name], id) })
}

func (f fakeVolumes) Release(name, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users[name] = slices.DeleteFunc(f.users[name], func(u string) bool { return u == id })
}

func (f fakeVolumes) Anonymous(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.volumes[name] && f.nameless[name]
}

func (f fakeVolumes) Users(name string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.users[name])
}

type fakeShims struct{ *world }

func (f fakeShims) Launch(_ context.Context, id string) (supervisor, error) {
	s := &fakeShim{world: f.world, id: id, exited: make(chan struct{}), deleted: make(chan struct{})}
	if err := f.in(func() { f.shims[id] = s }); err != nil {
		return nil, err
	}
	return s, nil
}

func (f fakeShims) Reconnect(_ context.Context, id string) (supervisor, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.shims[id]; s != nil {
		return s, nil
	}
	return nil, errdefs.ErrNotFound
}

func (f fakeShims) Leftovers() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for id := range f.shims {
		out = append(out, id)
	}
	return out, nil
}

// fakeShim is a supervisor whose container ends when it is told to.
type fakeShim struct {
	*world
	id      string
	config  shim.Config
	started bool
	signals []int
	kept    []runtime.CheckpointOptions
	exit    shim.Exit
	once    sync.Once
	exited  chan struct{}
	deleted chan struct{}
	// running are commands that were started before this daemon.
	running []shim.ExecState
}

func (s *fakeShim) Create(_ context.Context, c shim.Config) (int, error) {
	return 4242, s.in(func() { s.config = c })
}

func (s *fakeShim) Start(context.Context) error { return s.in(func() { s.started = true }) }

// finish ends the container.
func (s *fakeShim) finish(code int) {
	s.once.Do(func() {
		s.exit = shim.Exit{Code: code, At: time.Now()}
		close(s.exited)
	})
}

func (s *fakeShim) Wait(ctx context.Context) (shim.Exit, error) {
	select {
	case <-s.exited:
		return s.exit, nil
	case <-ctx.Done():
		return shim.Exit{}, ctx.Err()
	}
}

func (s *fakeShim) Pid() int      { return 4242 }
func (s *fakeShim) Started() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.started }

func (s *fakeShim) Kill(_ context.Context, signal int, _ bool) error {
	s.mu.Lock()
	s.signals = append(s.signals, signal)
	s.mu.Unlock()
	if signal == 9 || signal == 15 && len(s.config.Spec.Process.Args) > 0 && s.config.Spec.Process.Args[0] == "/bin/obedient" {
		s.finish(128 + signal)
	}
	return nil
}

func (s *fakeShim) Resize(context.Context, string, uint16, uint16) error { return nil }

func (s *fakeShim) Attach(context.Context, string, shim.AttachOptions) (Conn, error) {
	call(s.atAttach)
	return &fakeConn{in: s.exited, closed: make(chan struct{})}, nil
}

func (s *fakeShim) Delete(context.Context) error {
	call(s.atDelete)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shims[s.id] == s {
		delete(s.shims, s.id)
		close(s.deleted)
	}
	return nil
}

func (s *fakeShim) Checkpoint(_ context.Context, o runtime.CheckpointOptions) error {
	return s.in(func() { s.kept = append(s.kept, o) })
}

func (s *fakeShim) Exec(context.Context, string, shim.ExecConfig) error { return s.in(func() {}) }
func (s *fakeShim) ExecStart(context.Context, string) (int, error)      { return 77, s.in(func() {}) }
func (s *fakeShim) ExecDelete(context.Context, string) error            { return nil }
func (s *fakeShim) Keep(context.Context, string, *os.File) error        { return nil }
func (s *fakeShim) Kept(context.Context, string) (*os.File, error)      { return nil, errdefs.ErrNotFound }
func (s *fakeShim) ExecKill(context.Context, string) error              { return nil }
func (s *fakeShim) Execs(context.Context) ([]shim.ExecState, error)     { return s.running, nil }
func (s *fakeShim) ExecWait(context.Context, string) (shim.Exit, error) {
	return shim.Exit{Code: 5}, nil
}

// fakeConn is a stream without content that ends with in, or with its closing where that is not nil.
type fakeConn struct {
	in     <-chan struct{}
	wrote  []byte
	closed chan struct{}
	once   sync.Once
}

func (c *fakeConn) Read([]byte) (int, error) {
	select {
	case <-c.in:
	case <-c.closed:
	}
	return 0, io.EOF
}
func (c *fakeConn) Write(p []byte) (int, error) { c.wrote = append(c.wrote, p...); return len(p), nil }
func (c *fakeConn) CloseWrite() error           { return nil }

func (c *fakeConn) Close() error {
	c.once.Do(func() {
		if c.closed != nil {
			close(c.closed)
		}
	})
	return nil
}

// testEngine is an engine in a fake world, with real records.
func testEngine(t *testing.T, w *world) *Engine {
	t.Helper()
	db, err := state.Open(filepath.Join(t.TempDir(), "cove.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return engineOn(t, w, db, t.TempDir())
}

func engineOn(t *testing.T, w *world, db *state.DB, root string) *Engine {
	t.Helper()
	containers, err := container.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	e := assemble(Parts{
		Containers: containers, Config: Config{Root: root, ExecRoot: root, CgroupParent: "/cove-test"},
		Log: slog.New(slog.DiscardHandler),
	})
	e.images, e.layers, e.networks, e.volumes, e.shims = fakeImages{w}, fakeLayers{w}, fakeNetworks{w}, fakeVolumes{w}, fakeShims{w}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := e.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if ctx.Err() != nil {
			t.Error("the engine's goroutines do not end")
		}
	})
	return e
}
