package buildkit

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	solvererrs "github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/cove-containers/cove/build"
)

// The fakes build nothing; what they are asked for is what the tests look at.

type fakeBuilder struct {
	solve    func(ctx context.Context, r build.Request) (*build.Response, error)
	sessions *session.Manager
}

func (f *fakeBuilder) Solve(ctx context.Context, r build.Request) (*build.Response, error) {
	return f.solve(ctx, r)
}

func (f *fakeBuilder) Status(_ context.Context, _ string, emit func(*client.SolveStatus) error) error {
	return emit(&client.SolveStatus{Vertexes: []*client.Vertex{{Digest: digest.FromString("v"), Name: "a step"}}})
}

func (f *fakeBuilder) Workers() []client.WorkerInfo {
	return []client.WorkerInfo{{
		ID: "w", Labels: map[string]string{"org.mobyproject.buildkit.worker.executor": "cove"},
		BuildkitVersion: client.BuildkitVersion{Package: "p", Version: "v0.34.2"},
	}}
}

type fakeHistory map[digest.Digest]string

func (f fakeHistory) Listen(_ context.Context, _ *control.BuildHistoryRequest, emit func(*control.BuildHistoryEvent) error) error {
	return emit(&control.BuildHistoryEvent{Record: &control.BuildHistoryRecord{Ref: "r"}})
}

func (f fakeHistory) Update(context.Context, *control.UpdateBuildHistoryRequest) error {
	return errdefs.ErrNotFound.WithMessage("no build by that name")
}

func (f fakeHistory) Blob(_ context.Context, d digest.Digest) (io.ReadSeekCloser, int64, error) {
	text, ok := f[d]
	if !ok {
		return nil, 0, errdefs.ErrNotFound.WithMessage("no blob")
	}
	return struct {
		io.ReadSeeker
		io.Closer
	}{strings.NewReader(text), io.NopCloser(nil)}, int64(len(text)), nil
}

// fakeGateway is a build's gateway; its results are files with fixed content.
type fakeGateway struct{ gwclient.Client }

func (fakeGateway) BuildOpts() gwclient.BuildOpts {
	return gwclient.BuildOpts{Workers: []gwclient.WorkerInfo{{ID: "w"}}}
}

func (fakeGateway) Solve(_ context.Context, r gwclient.SolveRequest) (*gwclient.Result, error) {
	if r.Frontend == "fails" {
		return nil, solvererrs.WithSource(errors.New("no such instruction"), &solvererrs.Source{
			Info: &pb.SourceInfo{Filename: "Dockerfile", Data: []byte("FROM a\nNOPE\n")}, Ranges: []*pb.Range{{Start: &pb.Position{Line: 2}}},
		})
	}
	out := gwclient.NewResult()
	out.SetRef(fakeRef{definition: r.Definition})
	out.AddMeta("k", []byte("v"))
	return out, nil
}

func (fakeGateway) ResolveSourceMetadata(_ context.Context, op *pb.SourceOp, o sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	return &sourceresolver.MetaResponse{Op: op, Image: &sourceresolver.ResolveImageResponse{
		Digest: digest.FromString(op.Identifier), Config: []byte(o.ImageOpt.ResolveMode),
	}}, nil
}

func (fakeGateway) NewContainer(_ context.Context, r gwclient.NewContainerRequest) (gwclient.Container, error) {
	return &fakeContainer{mounts: r.Mounts}, nil
}

type fakeRef struct {
	gwclient.Reference
	definition *pb.Definition
}

func (r fakeRef) ToState() (llb.State, error) {
	op, err := llb.NewDefinitionOp(r.definition)
	if err != nil {
		return llb.State{}, err
	}
	return llb.NewState(op), nil
}

func (fakeRef) ReadFile(_ context.Context, r gwclient.ReadRequest) ([]byte, error) {
	return []byte("content of " + r.Filename), nil
}

func (fakeRef) ReadDir(context.Context, gwclient.ReadDirRequest) ([]*fstypes.Stat, error) {
	return []*fstypes.Stat{{Path: "entry"}}, nil
}

func (fakeRef) StatFile(_ context.Context, r gwclient.StatRequest) (*fstypes.Stat, error) {
	return &fstypes.Stat{Path: r.Path}, nil
}

type fakeContainer struct {
	gwclient.Container
	mounts []gwclient.Mount
}

func (*fakeContainer) Release(context.Context) error { return nil }

// Start runs a process that says back what it is told and ends with status 3.
func (*fakeContainer) Start(_ context.Context, r gwclient.StartRequest) (gwclient.ContainerProcess, error) {
	p := &fakeProcess{ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		_, _ = io.Copy(r.Stdout, r.Stdin)
		_, _ = io.WriteString(r.Stderr, "bye")
	}()
	return p, nil
}

type fakeProcess struct{ ended chan struct{} }

func (p *fakeProcess) Wait() error {
	<-p.ended
	return &gateway.ExitError{ExitCode: 3}
}
func (*fakeProcess) Resize(context.Context, gwclient.WinSize) error { return nil }
func (*fakeProcess) Signal(context.Context, syscall.Signal) error   { return nil }

// dial opens a door, and BuildKit's own client to it as buildx makes it: one connection for calls, one for the session.
func dial(t *testing.T, builder *fakeBuilder, history History) *client.Client {
	t.Helper()
	sessions, err := session.NewManager()
	if err != nil {
		t.Fatal(err)
	}
	builder.sessions = sessions
	door := New(Parts{Builder: builder, History: history, Sessions: sessions})
	t.Cleanup(door.Close)
	c, err := client.New(t.Context(), "",
		client.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go door.ServeConn(ours)
			return theirs, nil
		}),
		client.WithSessionDialer(func(_ context.Context, _ string, meta map[string][]string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { _ = door.Session(context.Background(), ours, meta) }()
			return theirs, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestWorkersAndInfo(t *testing.T) {
	c := dial(t, &fakeBuilder{}, nil)
	for filter, want := range map[string]int{"": 1, "id==w": 1, "id==x": 0, "labels.org.mobyproject.buildkit.worker.executor==cove": 1} {
		var with []client.ListWorkersOption
		if filter != "" {
			with = append(with, client.WithFilter([]string{filter}))
		}
		found, err := c.ListWorkers(t.Context(), with...)
		if err != nil || len(found) != want {
			t.Errorf("%q: %v %v", filter, found, err)
		}
	}
	info, err := c.Info(t.Context())
	if err != nil || info.BuildkitVersion.Version != "v0.34.2" {
		t.Errorf("%+v %v", info, err)
	}
}

// TestClientSteersItsBuild: the front end runs in the client, with everything it may ask for on the way.
func TestClientSteersItsBuild(t *testing.T) {
	builder := &fakeBuilder{}
	builder.solve = func(ctx context.Context, r build.Request) (*build.Response, error) {
		if r.Front == nil {
			t.Error("the daemon was to steer")
			return nil, errors.New("not steered")
		}
		caller, err := builder.sessions.Get(ctx, r.Sessions[0], false)
		if err != nil || !caller.Supports("/grpc.health.v1.Health/Check") {
			t.Errorf("session: %v", err)
		}
		result, err := r.Front(ctx, fakeGateway{})
		if err != nil {
			return nil, err
		}
		if _, ok := result.Ref.(fakeRef); !ok {
			t.Errorf("the reference that came back is %T", result.Ref)
		}
		return &build.Response{Exporter: map[string]string{"said": string(result.Metadata["k"])}}, nil
	}
	c := dial(t, builder, nil)
	steps := make(chan *client.SolveStatus, 8)
	done, err := c.Build(t.Context(), client.SolveOpt{}, "test", func(ctx context.Context, g gwclient.Client) (*gwclient.Result, error) {
		o := sourceresolver.Opt{ImageOpt: &sourceresolver.ResolveImageOpt{ResolveMode: "pull"}}
		if found, err := g.ResolveSourceMetadata(ctx, &pb.SourceOp{Identifier: "docker-image://x"}, o); err != nil || string(found.Image.Config) != "pull" {
			t.Errorf("%+v %v", found, err)
		}
		_, err := g.Solve(ctx, gwclient.SolveRequest{Frontend: "fails"})
		var source *solvererrs.SourceError
		if !errors.As(err, &source) || len(source.Ranges) != 1 || source.Info.Filename != "Dockerfile" {
			t.Errorf("an error without its place: %v", err)
		}
		definition, err := llb.Scratch().File(llb.Mkfile("a", 0o644, nil)).Marshal(ctx)
		if err != nil {
			return nil, err
		}
		result, err := g.Solve(ctx, gwclient.SolveRequest{Definition: definition.ToPB()})
		if err != nil {
			return nil, err
		}
		look(t, ctx, result.Ref)
		runInside(t, ctx, g, result.Ref)
		return result, nil
	}, steps)
	if err != nil || done.ExporterResponse["said"] != "v" {
		t.Fatalf("%+v %v", done, err)
	}
	if first := <-steps; first == nil || first.Vertexes[0].Name != "a step" {
		t.Errorf("progress: %+v", first)
	}
}

func look(t *testing.T, ctx context.Context, ref gwclient.Reference) {
	t.Helper()
	if data, err := ref.ReadFile(ctx, gwclient.ReadRequest{Filename: "f"}); err != nil || string(data) != "content of f" {
		t.Errorf("%q %v", data, err)
	}
	if list, err := ref.ReadDir(ctx, gwclient.ReadDirRequest{Path: "/"}); err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
	if stat, err := ref.StatFile(ctx, gwclient.StatRequest{Path: "p"}); err != nil || stat.Path != "p" {
		t.Errorf("%v %v", stat, err)
	}
	if state, err := ref.ToState(); err != nil || state.Output() == nil {
		t.Errorf("the client cannot build on a result: %v", err)
	}
}

func runInside(t *testing.T, ctx context.Context, g gwclient.Client, ref gwclient.Reference) {
	t.Helper()
	in, err := g.NewContainer(ctx, gwclient.NewContainerRequest{Mounts: []gwclient.Mount{{Dest: "/", Ref: ref, MountType: pb.MountType_BIND}}})
	if err != nil {
		t.Errorf("container: %v", err)
		return
	}
	var out, failed writer
	p, err := in.Start(ctx, gwclient.StartRequest{Args: []string{"x"}, Stdin: io.NopCloser(strings.NewReader("hello")), Stdout: &out, Stderr: &failed})
	if err != nil {
		t.Errorf("start: %v", err)
		return
	}
	var exit *gateway.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.ExitCode != 3 {
		t.Errorf("exit: %v", err)
	}
	if out.String() != "hello" || failed.String() != "bye" {
		t.Errorf("said %q and %q", out.String(), failed.String())
	}
	if err := in.Release(ctx); err != nil {
		t.Errorf("release: %v", err)
	}
	if err := in.Release(ctx); err == nil {
		t.Error("released twice")
	}
}

type writer struct{ strings.Builder }

func (*writer) Close() error { return nil }

// TestCallsOfNoBuild: a call for a build that has ended says so, and one too early waits.
func TestCallsOfNoBuild(t *testing.T) {
	s := newSteered()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.find(ctx, "b"); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("%v", err)
	}
	early := make(chan error, 1)
	go func() { _, err := s.find(t.Context(), "b"); early <- err }()
	building, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := s.front("b", nil)(building, fakeGateway{}); ended <- err }()
	if err := <-early; err != nil {
		t.Errorf("an early call: %v", err)
	}
	if _, err := s.front("b", nil)(t.Context(), fakeGateway{}); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("a second build of the same name: %v", err)
	}
	go func() { _, err := s.find(t.Context(), "c"); early <- err }()
	time.Sleep(10 * time.Millisecond)
	s.end("c")
	if err := <-early; !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("a call for a build that was refused: %v", err)
	}
	if _, err := s.find(t.Context(), "c"); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("a late call for a build that was refused: %v", err)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestHistoryAndItsBlobs(t *testing.T) {
	text := strings.Repeat("log ", 1<<19)
	d := digest.FromString(text)
	c := dial(t, &fakeBuilder{}, fakeHistory{d: text})
	events, err := c.ControlClient().ListenBuildHistory(t.Context(), &control.BuildHistoryRequest{EarlyExit: true})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := events.Recv(); err != nil || e.Record.Ref != "r" {
		t.Errorf("%v %v", e, err)
	}
	if _, err := c.ControlClient().UpdateBuildHistory(t.Context(), &control.UpdateBuildHistoryRequest{Ref: "x"}); err == nil || !strings.Contains(err.Error(), "NotFound") {
		t.Errorf("%v", err)
	}
	store := c.ContentClient()
	info, err := store.Info(t.Context(), infoRequest(d))
	if err != nil || info.Info.Size != int64(len(text)) {
		t.Fatalf("%v %v", info, err)
	}
	read, err := store.Read(t.Context(), readContent(d, 4, 0))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		part, err := read.Recv()
		if err != nil {
			break
		}
		n += len(part.Data)
	}
	if n != len(text)-4 {
		t.Errorf("read %d of %d bytes", n, len(text)-4)
	}
}

func TestOlderWords(t *testing.T) {
	r := requestOf(&control.SolveRequest{
		Ref: "x", ExporterDeprecated: "image", ExporterAttrsDeprecated: map[string]string{"name": "n"},
		FrontendAttrs: map[string]string{"build-arg:SOURCE_DATE_EPOCH": "5"},
		Cache: &control.CacheOptions{
			ExportRefDeprecated: "r/e", ExportAttrsDeprecated: map[string]string{"mode": "max"}, ImportRefsDeprecated: []string{"r/i"},
		},
	})
	if len(r.Exporters) != 1 || r.Exporters[0].Attrs["name"] != "n" || r.Exporters[0].Attrs["source-date-epoch"] != "5" {
		t.Errorf("%+v", r.Exporters)
	}
	if r.CacheExports[0].Attrs["ref"] != "r/e" || r.CacheExports[0].Attrs["mode"] != "max" || r.CacheImports[0].Attrs["ref"] != "r/i" {
		t.Errorf("%+v %+v", r.CacheExports, r.CacheImports)
	}
}

func infoRequest(d digest.Digest) *contentapi.InfoRequest {
	return &contentapi.InfoRequest{Digest: d.String()}
}

func readContent(d digest.Digest, offset, size int64) *contentapi.ReadContentRequest {
	return &contentapi.ReadContentRequest{Digest: d.String(), Offset: offset, Size: size}
}
