package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/build/file"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/state"
)

// kit is a builder over real layers and real file steps. What needs a network or containers is played here: sources come
// from a map, and RUN writes what it was told to a file.
type kit struct {
	t       *testing.T
	dir     string
	db      *state.DB
	layers  *layer.Store
	records *cache.Store
	builder *Builder

	mu      sync.Mutex
	context map[string]string // the client's folder
	ran     []string
	pause   chan struct{} // where it is not nil, "wait" steps go on when it is closed
	begun   chan struct{}
	changed func(*Parts)
	targets map[string]*target
}

func newKit(t *testing.T, change ...func(*Parts)) *kit {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: overlayfs")
	}
	k := &kit{t: t, dir: t.TempDir(), context: map[string]string{}, begun: make(chan struct{}, 100), targets: map[string]*target{}}
	k.changed = func(p *Parts) {
		for _, c := range change {
			c(p)
		}
	}
	k.open()
	t.Cleanup(k.close)
	return k
}

func (k *kit) open() {
	k.t.Helper()
	var err error
	if k.db, err = state.Open(filepath.Join(k.dir, "db")); err != nil {
		k.t.Fatal(err)
	}
	if k.layers, err = layer.Open(filepath.Join(k.dir, "layers"), k.db); err != nil {
		k.t.Fatal(err)
	}
	k.records, err = cache.Open(k.db, cache.Config{
		Sync: func() error { return k.layers.Settle(context.Background()) },
		Measure: func(name string) (int64, error) {
			n, _, err := k.layers.BuiltSize(context.Background(), name)
			return n, err
		},
	})
	if err != nil {
		k.t.Fatal(err)
	}
	sessions, err := session.NewManager()
	if err != nil {
		k.t.Fatal(err)
	}
	maker := file.New(file.Parts{Layers: k.layers, Content: content.New(k.layers)})
	parts := Parts{
		Config: Config{Root: filepath.Join(k.dir, "build"), WorkerID: "worker"}, DB: k.db, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Sessions: sessions, Cache: k.records, Layers: k.layers, Built: k.layers.Built,
		Standing: func(pile []string) bool { return k.layers.Standing(pile) },
		Make: Makers{
			Source: func(op *pb.Op, _ step.Vertex) (step.Op, error) { return &played{k: k, source: op.GetSource()}, nil },
			Exec:   func(op *pb.Op, _ step.Vertex) (step.Op, error) { return &played{k: k, exec: op.GetExec()}, nil },
			File:   func(op *pb.Op, _ step.Vertex) (step.Op, error) { return maker.File(op.GetFile(), len(op.Inputs)) },
		},
		Resolver: k, Reader: maker, Target: func(_ int, _ string, attrs map[string]string) (Target, error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			return k.targets[attrs["number"]], nil
		},
	}
	k.changed(&parts)
	if k.builder, err = New(context.Background(), parts); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kit) close() {
	if err := k.builder.Close(); err != nil {
		k.t.Error(err)
	}
	k.db.Close()
}

// Resolve plays a registry that has every image. What is called parent has its children ask for an argument.
func (k *kit) Resolve(_ context.Context, _ *step.Env, op *pb.SourceOp, _ sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	config, err := json.Marshal(ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: normalize(nil).Architecture},
		Config:   ocispec.ImageConfig{Env: []string{"PATH=/bin"}},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("base")}},
	})
	if strings.Contains(op.Identifier, "parent") {
		config = bytes.Replace(config, []byte(`"config":{`), []byte(`"config":{"OnBuild":["ARG INHERITED"],`), 1)
	}
	return &sourceresolver.MetaResponse{Op: op, Image: &sourceresolver.ResolveImageResponse{Digest: digest.FromString(op.Identifier), Config: config}}, err
}

// played is a step that is played.
type played struct {
	k      *kit
	source *pb.SourceOp
	exec   *pb.ExecOp
}

func (p *played) Key(context.Context, *step.Env) (step.Key, error) {
	if p.exec != nil {
		return step.Key{Digest: digest.FromString(strings.Join(p.exec.Meta.Args, "\x00"))}, nil
	}
	return step.Key{Digest: digest.FromString(p.source.Identifier + fmt.Sprint(p.source.Attrs)), Fresh: strings.HasPrefix(p.source.Identifier, "local://")}, nil
}

func (p *played) Run(ctx context.Context, env *step.Env, in []step.Ref) (step.Outcome, error) {
	var below layer.Pile
	files := map[string]string{"etc/base": "base"}
	out := step.Outcome{}
	switch {
	case p.exec != nil:
		below = in[0].Pile
		line := strings.TrimPrefix(strings.Join(p.exec.Meta.Args, " "), "/bin/sh -c ")
		if err := p.k.perform(ctx, env, line); err != nil {
			return out, err
		}
		files = map[string]string{"ran-" + strings.ReplaceAll(line, "/", "_"): line}
	case strings.HasPrefix(p.source.Identifier, "local://"):
		p.k.mu.Lock()
		files = p.k.context
		p.k.mu.Unlock()
		out.Kind = cache.Local
		out.Key = digest.FromString(fmt.Sprint(files))
		defer env.Part("transferring context")()
	}
	name := env.Lease.Name()
	if err := p.k.layers.Build(ctx, name, below); err != nil {
		return out, err
	}
	root, err := p.k.layers.Root(ctx, name)
	if err != nil {
		return out, err
	}
	for path, text := range files {
		at := filepath.Join(fmt.Sprintf("/proc/self/fd/%d", root.Dir.Fd()), path)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644))
	}
	if err = errors.Join(err, root.Close()); err != nil {
		return out, err
	}
	if _, err := p.k.layers.Seal(ctx, name); err != nil {
		return out, err
	}
	out.Refs = []step.Ref{{Pile: append(slices.Clone(below), name)}}
	return out, nil
}

// perform is what RUN does here.
func (k *kit) perform(ctx context.Context, env *step.Env, line string) error {
	k.mu.Lock()
	k.ran = append(k.ran, line)
	pause := k.pause
	k.mu.Unlock()
	env.Out(1, []byte("output of "+line+"\n"))
	if code, ok := strings.CutPrefix(line, "exit "); ok {
		return fmt.Errorf("process %q did not complete successfully: exit code: %s", "/bin/sh -c "+line, code)
	}
	if strings.HasPrefix(line, "wait") && pause != nil {
		k.begun <- struct{}{}
		select {
		case <-pause:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (k *kit) runs() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	ran := k.ran
	k.ran = nil
	slices.Sort(ran)
	return ran
}

// target takes what a build gives, for the tests to look at.
type target struct {
	k     *kit
	mu    sync.Mutex
	files map[string]string
	out   *Outcome
	fail  error
}

func (t *target) Name() string { return "exporting to the test" }

func (t *target) Export(ctx context.Context, _ *step.Env, out *Outcome) (map[string]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fail != nil {
		return nil, t.fail
	}
	t.out, t.files = out, map[string]string{}
	for _, ref := range out.Refs {
		root, err := t.k.layers.OpenPile(ctx, ref.Pile)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		err = filepath.WalkDir(fmt.Sprintf("/proc/self/fd/%d/.", root.Dir.Fd()), func(p string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			raw, err := os.ReadFile(p)
			_, name, _ := strings.Cut(p, fmt.Sprintf("/fd/%d/", root.Dir.Fd()))
			t.files[name] = string(raw)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return map[string]string{"test": "done"}, nil
}

// seen is what a client sees of a build.
type seen struct {
	vertices map[string]*client.Vertex // by name, the newest
	logs     string
	warnings []string
}

func (k *kit) status(id string) (*seen, error) {
	s := &seen{vertices: map[string]*client.Vertex{}}
	err := k.builder.Status(context.Background(), id, func(m *client.SolveStatus) error {
		for _, v := range m.Vertexes {
			s.vertices[v.Name] = v
		}
		for _, l := range m.Logs {
			s.logs += string(l.Data)
		}
		for _, w := range m.Warnings {
			s.warnings = append(s.warnings, string(w.Short))
		}
		return nil
	})
	return s, err
}

// cached are the names of the steps that were not run.
func (s *seen) cached() []string {
	var out []string
	for name, v := range s.vertices {
		if v.Cached {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// build builds a Dockerfile with the files of a context.
func (k *kit) build(ctx context.Context, id, dockerfile string, files map[string]string, options ...string) (*target, error) {
	t := &target{k: k}
	all := map[string]string{"Dockerfile": dockerfile}
	for name, text := range files {
		all[name] = text
	}
	k.mu.Lock()
	k.context = all
	k.mu.Unlock()
	req := Request{ID: id, FrontEnd: "dockerfile.v0", Options: map[string]string{}, Exporters: []Exporter{{Type: "test"}}}
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		req.Options[name] = value
	}
	k.mu.Lock()
	number := fmt.Sprint(len(k.targets))
	k.targets[number] = t
	k.mu.Unlock()
	req.Exporters[0].Attrs = map[string]string{"number": number}
	_, err := k.builder.Solve(ctx, req)
	return t, err
}

// eventually waits for what happens in the background.
func (k *kit) eventually(what string, ok func() bool) {
	k.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			k.t.Fatal("never: " + what)
		}
	}
}

// pruneAll empties the cache without deleting the layers.
func pruneAll(t *testing.T, k *kit) (int, []string) {
	t.Helper()
	gone, names, err := k.records.Prune(t.Context(), cache.Wish{Down: -1})
	if err != nil {
		t.Fatal(err)
	}
	return len(gone), names
}
