package run

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/solver/pb"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/network"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/shim"
	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/testkit"
)

// TestMain lets the test's own binary be the supervisor of steps.
func TestMain(m *testing.M) {
	if runtime.IsInit(os.Args) {
		os.Exit(runtime.Init(os.Args))
	}
	if len(os.Args) > 1 && os.Args[1] == "steps" {
		os.Exit(shim.StepsMain())
	}
	os.Exit(m.Run())
}

// kit is everything steps are made with.
type kit struct {
	*Runner
	t        testing.TB
	dir      string
	parent   string // of the steps' cgroups
	layers   *layer.Store
	networks *network.Keeper
	steps    *shim.Steps
	mounts   *cache.Mounts
	records  *cache.Store
	lease    *cache.Lease
	base     layer.Pile // busybox

	mu  sync.Mutex
	out map[int]*bytes.Buffer
	env *step.Env
}

// newKit makes one in dir; bridge tells that steps get a network.
func newKit(t testing.TB, dir string, bridge bool) *kit {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: runs containers")
	}
	k := &kit{t: t, dir: dir, out: map[int]*bytes.Buffer{1: {}, 2: {}}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := state.Open(filepath.Join(dir, "db"))
	must(err)
	t.Cleanup(func() { db.Close() })
	k.layers, err = layer.Open(filepath.Join(dir, "layers"), db)
	must(err)
	cfg := network.Config{Mark: fmt.Sprintf("e%05x", os.Getpid()), Bridge: "none"}
	if bridge {
		cfg.Bridge, cfg.BIP = "", netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 19, byte(os.Getpid() % 250), 1}), 24)
	}
	k.networks, err = network.Open(cfg, db)
	must(err)
	t.Cleanup(func() { k.networks.Close() })
	k.mounts, err = cache.OpenMounts(filepath.Join(dir, "mounts"), db)
	must(err)
	k.records, err = cache.Open(db, cache.Config{})
	must(err)
	self, err := os.Executable()
	must(err)
	if binary := os.Getenv("COVE_RUNTIME"); binary != "" { // benchmarks of the real one
		self = binary
	}
	k.steps, err = shim.OpenSteps(filepath.Join(dir, "run/steps"), self)
	must(err)
	t.Cleanup(func() { k.steps.Close() })
	k.parent = fmt.Sprintf("cove-test-%d-%s", os.Getpid(), filepath.Base(dir))
	t.Cleanup(func() {
		if group, err := runtime.OpenCgroup("/" + k.parent); err == nil {
			_ = group.Remove()
		}
	})
	k.Runner, err = New(Parts{
		Layers: k.layers, Content: content.New(k.layers), Networks: k.networks, Steps: k.steps, Mounts: k.mounts,
		Config: Config{Dir: filepath.Join(dir, "run/build"), CgroupParent: k.parent, SeccompCache: filepath.Join(dir, "seccomp")},
	})
	must(err)
	k.parts.Config.Users = usersOf(os.Getenv(ownUsers) != "")
	k.lease = k.records.Lease()
	k.env = &step.Env{Lease: k.lease, Out: func(stream int, p []byte) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.out[stream].Write(p)
	}}
	k.base = k.busybox()
	return k
}

func (k *kit) busybox() layer.Pile {
	k.t.Helper()
	images, err := testkit.Images("../..")
	if err != nil {
		k.t.Skip(err)
	}
	file, err := os.Open(filepath.Join(images, "busybox.tar"))
	if err != nil {
		k.t.Fatal(err)
	}
	defer file.Close()
	image, err := testkit.FromLayout(file, "amd64")
	if err != nil {
		k.t.Fatal(err)
	}
	var pile layer.Pile
	for i, raw := range image.Layers {
		plain, err := archive.Decompress(bytes.NewReader(raw))
		if err == nil {
			_, err = k.layers.Apply(context.Background(), image.DiffIDs[i], plain)
		}
		if err != nil {
			k.t.Fatal(err)
		}
		pile = append(pile, image.DiffIDs[i].String())
	}
	return pile
}

// client connects a client that has these secrets.
func (k *kit) client(known map[string][]byte, more ...session.Attachable) {
	k.t.Helper()
	manager, err := session.NewManager()
	if err != nil {
		k.t.Fatal(err)
	}
	s, err := session.NewSession(context.Background(), "")
	if err != nil {
		k.t.Fatal(err)
	}
	s.Allow(secretsprovider.FromMap(known))
	for _, m := range more {
		s.Allow(m)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx, func(ctx context.Context, _ string, meta map[string][]string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { _ = manager.HandleConn(ctx, theirs, meta) }()
			return ours, nil
		})
	}()
	k.t.Cleanup(func() { cancel(); s.Close(); <-done })
	k.env.Sessions, k.env.Group = manager, session.NewGroup(s.ID())
}

// shell is a step that runs a script in busybox.
func shell(script string, mounts ...*pb.Mount) *pb.ExecOp {
	return &pb.ExecOp{
		Meta:    &pb.Meta{Args: []string{"/bin/sh", "-c", script}, Cwd: "/", Env: []string{"A=b"}},
		Network: pb.NetMode_NONE,
		Mounts:  append([]*pb.Mount{{Input: 0, Dest: "/", Output: 0}}, mounts...),
	}
}

// op makes a step that has so many inputs.
func (k *kit) op(exec *pb.ExecOp, inputs int, v step.Vertex) step.Op {
	k.t.Helper()
	o, err := k.Op(&pb.Op{Inputs: make([]*pb.Input, inputs)}, exec, v)
	if err != nil {
		k.t.Fatal(err)
	}
	return o
}

func (k *kit) try(exec *pb.ExecOp, in ...layer.Pile) (step.Outcome, error) {
	k.t.Helper()
	if len(in) == 0 {
		in = []layer.Pile{k.base}
	}
	refs := make([]step.Ref, len(in))
	for i, p := range in {
		refs[i].Pile = p
	}
	k.out[1].Reset()
	k.out[2].Reset()
	return k.op(exec, len(in), step.Vertex{}).Run(context.Background(), k.env, refs)
}

// run is try of what must succeed; it returns its first output and what it printed.
func (k *kit) run(exec *pb.ExecOp, in ...layer.Pile) (layer.Pile, string) {
	k.t.Helper()
	outcome, err := k.try(exec, in...)
	if err != nil {
		k.t.Fatalf("%v\n%s", err, k.out[2])
	}
	if len(outcome.Refs) == 0 {
		return nil, k.out[1].String()
	}
	return outcome.Refs[0].Pile, k.out[1].String()
}

// packed lists what the topmost layer of a pile changes.
func (k *kit) packed(p layer.Pile) string {
	k.t.Helper()
	var b bytes.Buffer
	if err := k.layers.PackPile(context.Background(), &b, p, 1); err != nil {
		k.t.Fatal(err)
	}
	return strings.Join(tarNames(k.t, &b), " ")
}

// read reads a file of a pile.
func (k *kit) read(p layer.Pile, name string) string {
	k.t.Helper()
	r, err := k.layers.OpenPile(context.Background(), p)
	if err != nil {
		k.t.Fatal(err)
	}
	defer r.Close()
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/%s", r.Dir.Fd(), name))
	if err != nil {
		k.t.Error(err)
	}
	return string(text)
}
