package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"
	it "github.com/moby/moby/api/types/image"
	nt "github.com/moby/moby/api/types/network"
	st "github.com/moby/moby/api/types/system"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/logs"
	"github.com/cove-containers/cove/server/listen"
)

// The fakes answer with what a test puts into their fields; what it leaves out is not called.

type fakeLives struct {
	create func(engine.CreateOptions) (ct.CreateResponse, error)
	start  func(ref string) error
	stop   func(ref, signal string, timeout *int) error
	remove func(ref string, o engine.RemoveOptions) error
}

func (f fakeLives) ContainerCreate(_ context.Context, o engine.CreateOptions) (ct.CreateResponse, error) {
	return f.create(o)
}
func (f fakeLives) ContainerStart(_ context.Context, ref string) error { return f.start(ref) }
func (f fakeLives) ContainerStop(_ context.Context, ref, signal string, timeout *int) error {
	return f.stop(ref, signal, timeout)
}
func (f fakeLives) ContainerRestart(_ context.Context, ref, signal string, timeout *int) error {
	return f.stop(ref, signal, timeout)
}
func (f fakeLives) ContainerRemove(_ context.Context, ref string, o engine.RemoveOptions) error {
	return f.remove(ref, o)
}

type fakeCourse struct{ err error }

func (f fakeCourse) ContainerKill(context.Context, string, string) error   { return f.err }
func (f fakeCourse) ContainerPause(context.Context, string) error          { return f.err }
func (f fakeCourse) ContainerUnpause(context.Context, string) error        { return f.err }
func (f fakeCourse) ContainerRename(context.Context, string, string) error { return f.err }
func (f fakeCourse) ContainerUpdate(_ context.Context, _ string, u ct.UpdateConfig) (ct.UpdateResponse, error) {
	return ct.UpdateResponse{}, f.err
}

type fakeStreams struct {
	attach func(context.Context, engine.AttachOptions) error
	logs   func(ctx context.Context, o engine.LogsOptions, open func(bool) error, emit func(logs.Line, string) error) error
	resize func(height, width uint) error
	wait   func(context.Context, ct.WaitCondition) (<-chan ct.WaitResponse, error)
	stats  func(ctx context.Context, stream, oneShot bool, emit func(ct.StatsResponse) error) error
}

func (f fakeStreams) ContainerAttach(ctx context.Context, _ string, o engine.AttachOptions) error {
	return f.attach(ctx, o)
}
func (f fakeStreams) ContainerLogs(ctx context.Context, _ string, o engine.LogsOptions, open func(bool) error, emit func(logs.Line, string) error) error {
	return f.logs(ctx, o, open, emit)
}
func (f fakeStreams) ContainerResize(_ context.Context, _ string, height, width uint) error {
	return f.resize(height, width)
}
func (f fakeStreams) ContainerWait(ctx context.Context, _ string, c ct.WaitCondition) (<-chan ct.WaitResponse, error) {
	return f.wait(ctx, c)
}
func (f fakeStreams) ContainerStats(ctx context.Context, _ string, stream, oneShot bool, emit func(ct.StatsResponse) error) error {
	return f.stats(ctx, stream, oneShot, emit)
}

type fakeExecs struct {
	create func(ct.ExecCreateRequest) (string, error)
	start  func(context.Context, engine.ExecStartOptions) error
}

func (f fakeExecs) ExecCreate(_ context.Context, _ string, r ct.ExecCreateRequest) (string, error) {
	return f.create(r)
}
func (f fakeExecs) ExecStart(ctx context.Context, _ string, o engine.ExecStartOptions) error {
	return f.start(ctx, o)
}
func (f fakeExecs) ExecResize(context.Context, string, uint, uint) error { return nil }
func (f fakeExecs) ExecInspect(context.Context, string) (ct.ExecInspectResponse, error) {
	return ct.ExecInspectResponse{}, nil
}

type fakeContainers struct {
	list    []ct.Summary
	inspect ct.InspectResponse
	err     error
}

func (f fakeContainers) ContainerList(context.Context, engine.ListOptions) ([]ct.Summary, error) {
	return f.list, f.err
}
func (f fakeContainers) ContainerInspect(context.Context, string, bool) (api.Container, error) {
	return api.Container{InspectResponse: f.inspect, WishedMAC: nt.HardwareAddr{2, 0, 0, 0, 0, 7}}, f.err
}
func (f fakeContainers) ContainerTop(context.Context, string, string) (ct.TopResponse, error) {
	return ct.TopResponse{}, f.err
}
func (f fakeContainers) ContainerChanges(context.Context, string) ([]ct.FilesystemChange, error) {
	return nil, f.err
}
func (f fakeContainers) ContainersPrune(context.Context, api.Filters) (ct.PruneReport, error) {
	return ct.PruneReport{}, f.err
}

type fakeHouse struct{ usage st.DiskUsage }

type fakeSystem struct {
	info    st.Info
	version st.VersionResponse
	events  func(ctx context.Context, o engine.EventsOptions, emit func(et.Message) error) error
}

func (f fakeSystem) Info(context.Context) (st.Info, error)               { return f.info, nil }
func (f fakeSystem) Version(context.Context) (st.VersionResponse, error) { return f.version, nil }
func (f fakeHouse) DiskUsage(context.Context, api.UsageOptions) (st.DiskUsage, error) {
	return f.usage, nil
}
func (f fakeHouse) Check(_ context.Context, o api.CheckOptions) (api.CheckReport, error) {
	return api.CheckReport{Checked: map[string]int{"blobs": 2}, Faults: []api.Fault{{Kind: "blob", Name: "x", Problem: "bad", Repaired: o.Repair}}}, nil
}
func (f fakeSystem) Events(ctx context.Context, o engine.EventsOptions, emit func(et.Message) error) error {
	return f.events(ctx, o, emit)
}

type fakeImages struct {
	list    []it.Summary
	inspect it.InspectResponse
	remove  func(ref string, o image.RemoveOptions) ([]it.DeleteResponse, error)
	err     error
}

func (f fakeImages) List(context.Context, image.ListOptions) ([]it.Summary, error) {
	return f.list, f.err
}
func (f fakeImages) Inspect(context.Context, string, *ocispec.Platform, bool) (it.InspectResponse, error) {
	return f.inspect, f.err
}
func (f fakeImages) History(context.Context, string, *ocispec.Platform) ([]it.HistoryResponseItem, error) {
	return nil, f.err
}
func (f fakeImages) Remove(_ context.Context, ref string, o image.RemoveOptions) ([]it.DeleteResponse, error) {
	return f.remove(ref, o)
}
func (f fakeImages) Prune(context.Context, api.Filters) (it.PruneReport, error) {
	return it.PruneReport{}, f.err
}

type fakeTransfers struct {
	pull func(ctx context.Context, ref string, o image.PullOptions) (*image.Image, error)
	push func(ref string, o image.PushOptions) error
	load func(r io.Reader, o image.LoadOptions) error
	save func(names []string, w io.Writer) error
	tag  func(source, target string) error
}

func (f fakeTransfers) Pull(ctx context.Context, ref string, o image.PullOptions) (*image.Image, error) {
	return f.pull(ctx, ref, o)
}
func (f fakeTransfers) Push(_ context.Context, ref string, o image.PushOptions) error {
	return f.push(ref, o)
}
func (f fakeTransfers) Load(_ context.Context, r io.Reader, o image.LoadOptions) error {
	return f.load(r, o)
}
func (f fakeTransfers) Save(_ context.Context, names []string, _ []ocispec.Platform, w io.Writer) error {
	return f.save(names, w)
}
func (f fakeTransfers) Tag(_ context.Context, source, target string) error {
	return f.tag(source, target)
}

// notFound is the error of a container that is not there, in Docker's words.
func notFound(ref string) error { return errdefs.ErrNotFound.WithMessage("No such container: " + ref) }

// ask sends one request to a server of the parts and gives the answer.
func ask(t *testing.T, p Parts, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	New(p).ServeHTTP(w, r)
	return w
}

// serve runs a server of the parts on a unix socket and gives the socket's path.
func serve(t *testing.T, p Parts) (*Server, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listeners, err := listen.Open(listen.Config{Hosts: []string{"unix://" + path}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	s := New(p)
	go func() { ended <- serving(s, 2*time.Second).Serve(ctx, listeners) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s, path
}

// serving is how the daemon serves s.
func serving(s *Server, grace time.Duration) listen.Service {
	return listen.Service{Handler: s, Drain: s.Drain, Log: s.Log, Grace: grace, HTTP2: true}
}

// dialer gives an HTTP client that reaches the socket whatever the host.
func dialer(path string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	return &http.Client{Transport: transport}
}
