package build

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"sync"

	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cove-containers/cove/state"
)

// history is what is remembered of builds: those under way, and the last that have ended.
//
//	history/<hex>      logs, attestations and errors that records name by their digest
//
// In the database:
//
//	build.history      ref → past
type history struct {
	root  string
	limit int
	table *state.Table[past]

	mu        sync.Mutex
	coming    map[string]int // by digest: blobs that are there for records to come
	live      map[string]*control.BuildHistoryRecord
	ended     map[string]*control.BuildHistoryRecord
	listeners map[chan *control.BuildHistoryEvent]bool
}

// past is a build that has ended, as BuildKit's record in its own encoding.
type past struct{ Record []byte }

// remembered is how many builds are kept when nothing else is said. Pinned ones come on top.
const remembered = 50

// Media types of what records name.
const (
	logType   = "application/vnd.buildkit.status.v0"
	errorType = "application/vnd.googleapis.google.rpc.status+proto"
)

func openHistory(db *state.DB, root string, limit int) (*history, error) {
	if limit == 0 {
		limit = remembered
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("open the history of builds: %w", err)
	}
	table, err := state.NewTable[past](db, "build.history")
	if err != nil {
		return nil, err
	}
	h := &history{
		root: root, limit: limit, table: table, live: map[string]*control.BuildHistoryRecord{},
		ended: map[string]*control.BuildHistoryRecord{}, listeners: map[chan *control.BuildHistoryEvent]bool{}, coming: map[string]int{},
	}
	all, err := table.All()
	if err != nil {
		return nil, err
	}
	for ref, p := range all {
		r := &control.BuildHistoryRecord{}
		if err := r.UnmarshalVT(p.Record); err != nil {
			slog.Warn("a record of a build cannot be read", "ref", ref, "error", err)
			table.DeleteLater(ref)
			continue
		}
		h.ended[ref] = r
	}
	return h, h.sweep()
}

// sweep deletes files that no record names.
func (h *history) sweep() error {
	used := map[string]bool{}
	for _, r := range h.ended {
		for _, d := range blobs(r) {
			used[digest.Digest(d.Digest).Encoded()] = true
		}
	}
	files, err := os.ReadDir(h.root)
	if err != nil {
		return fmt.Errorf("open the history of builds: %w", err)
	}
	for _, f := range files {
		if !used[f.Name()] {
			if err := os.RemoveAll(filepath.Join(h.root, f.Name())); err != nil {
				return fmt.Errorf("open the history of builds: %w", err)
			}
		}
	}
	return nil
}

// blobs are what a record names and the history keeps.
func blobs(r *control.BuildHistoryRecord) []*control.Descriptor {
	var out []*control.Descriptor
	results := []*control.BuildResultInfo{r.Result}
	for _, one := range r.Results {
		results = append(results, one)
	}
	for _, one := range results {
		out = append(out, one.GetAttestations()...)
	}
	for _, d := range []*control.Descriptor{r.Logs, r.ExternalError} {
		if d != nil {
			out = append(out, d)
		}
	}
	return out
}

// begin shows a build that has begun.
func (h *history) begin(b *build) {
	if b.request.Internal {
		return
	}
	r := &control.BuildHistoryRecord{
		Ref: b.id, Frontend: b.request.FrontEnd, FrontendAttrs: b.request.Options, CreatedAt: timestamppb.New(b.created),
	}
	for _, e := range b.request.Exporters {
		r.Exporters = append(r.Exporters, &control.Exporter{Type: e.Type, Attrs: e.Attrs})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live[b.id] = r
	h.tell(control.BuildHistoryEventType_STARTED, r)
}

// end keeps what is to be remembered of a build, or nothing of one that is not to be shown, and closes its tape.
func (h *history) end(b *build, response *Response, failed error) {
	b.tape.close()
	h.mu.Lock()
	live, ok := h.live[b.id]
	delete(h.live, b.id)
	h.mu.Unlock()
	if !ok {
		b.tape.discard()
		return
	}
	r := live.CloneVT()
	r.CompletedAt = timestamppb.Now()
	n := b.progress.counted()
	r.NumTotalSteps, r.NumCompletedSteps, r.NumCachedSteps, r.NumWarnings = n.total, n.completed, n.cached, n.warnings
	var err error
	if r.Logs, err = h.adopt(b.tape.path, logType); err != nil {
		slog.Warn("the log of a build is not kept", "ref", b.id, "error", err)
	}
	if response != nil {
		r.ExporterResponse = response.Exporter
		r.Result, r.Results = response.result, response.results
	}
	if failed != nil {
		h.failure(r, failed)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended[b.id] = r
	for _, d := range blobs(r) {
		if h.coming[d.Digest]--; h.coming[d.Digest] <= 0 {
			delete(h.coming, d.Digest)
		}
	}
	h.store(r)
	h.tell(control.BuildHistoryEventType_COMPLETE, r)
	h.forget()
}

// failure notes why a build has failed: in short, and with everything that clients can show of it.
func (h *history) failure(r *control.BuildHistoryRecord, failed error) {
	s, ok := grpcerrors.AsGRPCStatus(grpcerrors.ToGRPC(context.Background(), failed))
	if !ok {
		s = status.New(codes.Unknown, failed.Error())
	}
	whole := s.Proto()
	whole.Message = legible(whole.Message)
	if errors.Is(failed, context.Canceled) {
		whole.Code, whole.Message = int32(codes.Canceled), failed.Error()
	}
	raw, err := proto.Marshal(whole)
	if err == nil {
		r.ExternalError, err = h.keep(raw, errorType)
	}
	if err != nil {
		slog.Warn("the error of a build is not kept", "ref", r.Ref, "error", err)
	}
	whole.Details = nil
	r.Error = whole
}

func (h *history) store(r *control.BuildHistoryRecord) {
	raw, err := r.MarshalVT()
	if err != nil {
		slog.Error("could not write the record of a build", "ref", r.Ref, "error", err)
		return
	}
	h.table.PutLater(r.Ref, past{raw})
}

// forget drops the oldest above the limit.
func (h *history) forget() {
	var all []*control.BuildHistoryRecord
	for _, r := range h.ended {
		if !r.Pinned {
			all = append(all, r)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].CreatedAt.AsTime().After(all[j].CreatedAt.AsTime()) })
	for _, r := range all[min(h.limit, len(all)):] {
		h.drop(r)
	}
}

// drop forgets one build, with h.mu held.
func (h *history) drop(r *control.BuildHistoryRecord) {
	delete(h.ended, r.Ref)
	h.table.DeleteLater(r.Ref)
	used := map[string]bool{}
	for _, other := range h.ended {
		for _, d := range blobs(other) {
			used[d.Digest] = true
		}
	}
	for _, d := range blobs(r) {
		if !used[d.Digest] && h.coming[d.Digest] == 0 {
			os.Remove(filepath.Join(h.root, digest.Digest(d.Digest).Encoded()))
		}
	}
	h.tell(control.BuildHistoryEventType_DELETED, r)
}

// tell reaches everyone who listens; who does not keep up is dropped.
func (h *history) tell(kind control.BuildHistoryEventType, r *control.BuildHistoryRecord) {
	e := &control.BuildHistoryEvent{Type: kind, Record: r.CloneVT()}
	for l := range h.listeners {
		select {
		case l <- e:
		default:
			delete(h.listeners, l)
			close(l)
		}
	}
}

// take moves a file to where it is found by its digest. It stays until the record that names it is there, though another one that
// names the same goes meanwhile.
func (h *history) take(path string, d digest.Digest) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := os.Rename(path, filepath.Join(h.root, d.Encoded())); err != nil {
		return err
	}
	h.coming[d.String()]++
	return nil
}

// adopt makes a file that is complete a blob of the history.
func (h *history) adopt(path, kind string) (*control.Descriptor, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return nil, err
	}
	d := digest.NewDigest(digest.SHA256, sum)
	if err := h.take(path, d); err != nil {
		return nil, err
	}
	return &control.Descriptor{MediaType: kind, Digest: d.String(), Size: size}, nil
}

// keep makes bytes a blob of the history.
func (h *history) keep(raw []byte, kind string) (*control.Descriptor, error) {
	d := digest.FromBytes(raw)
	temporary, err := os.CreateTemp(h.root, "new-")
	if err != nil {
		return nil, err
	}
	_, err = temporary.Write(raw)
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = h.take(temporary.Name(), d)
	}
	if err != nil {
		os.Remove(temporary.Name())
		return nil, err
	}
	return &control.Descriptor{MediaType: kind, Digest: d.String(), Size: int64(len(raw))}, nil
}

// Listen emits the builds that are remembered and those under way, then what happens, until ctx ends or, where the request
// says so, at once. ActiveOnly, Ref, Filter and Limit of the request count as in BuildKit.
func (b *Builder) Listen(ctx context.Context, req *control.BuildHistoryRequest, emit func(*control.BuildHistoryEvent) error) error {
	match, err := historyFilter(req.Filter)
	if err != nil {
		return err
	}
	h := b.history
	events := make(chan *control.BuildHistoryEvent, 1024)
	h.mu.Lock()
	list := h.list(req, match)
	if !req.EarlyExit {
		h.listeners[events] = true
		defer func() {
			h.mu.Lock()
			delete(h.listeners, events)
			h.mu.Unlock()
		}()
	}
	h.mu.Unlock()
	for _, e := range list {
		if err := emit(e); err != nil {
			return err
		}
	}
	if req.EarlyExit {
		return nil
	}
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return fmt.Errorf("events of builds came faster than they were taken: %w", errdefs.ErrResourceExhausted)
			}
			if req.Ref != "" && e.Record.Ref != req.Ref || !match(e.Record) {
				continue
			}
			if err := emit(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// list is what there is for a request, the newest first; with h.mu held.
func (h *history) list(req *control.BuildHistoryRequest, match func(*control.BuildHistoryRecord) bool) []*control.BuildHistoryEvent {
	var out []*control.BuildHistoryEvent
	add := func(kind control.BuildHistoryEventType, of map[string]*control.BuildHistoryRecord) {
		for _, r := range of {
			if (req.Ref == "" || r.Ref == req.Ref) && match(r) {
				out = append(out, &control.BuildHistoryEvent{Type: kind, Record: r.CloneVT()})
			}
		}
	}
	add(control.BuildHistoryEventType_STARTED, h.live)
	if !req.ActiveOnly {
		add(control.BuildHistoryEventType_COMPLETE, h.ended)
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].Record.CreatedAt.AsTime().After(out[j].Record.CreatedAt.AsTime())
	})
	if req.Limit > 0 && int(req.Limit) < len(out) {
		out = out[:req.Limit]
	}
	return out
}

// Update pins a record, lets go of one, or deletes it. Finalize asks for a trace, of which there is none.
func (b *Builder) Update(_ context.Context, req *control.UpdateBuildHistoryRequest) error {
	h := b.history
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.ended[req.Ref]
	if !ok {
		if _, live := h.live[req.Ref]; live && req.Finalize {
			return nil
		}
		return fmt.Errorf("failed to get build history record %s: %w", req.Ref, errdefs.ErrNotFound)
	}
	switch {
	case req.Delete:
		h.drop(r)
	case req.Finalize:
	default:
		r = r.CloneVT()
		r.Pinned = req.Pinned
		r.Generation++
		h.ended[req.Ref] = r
		h.store(r)
		h.tell(control.BuildHistoryEventType_COMPLETE, r)
		h.forget()
	}
	return nil
}

// Blob opens what a record names by its digest. The caller closes it.
func (b *Builder) Blob(_ context.Context, d digest.Digest) (io.ReadSeekCloser, int64, error) {
	if err := d.Validate(); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	f, err := os.Open(filepath.Join(b.history.root, d.Encoded()))
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, fmt.Errorf("content %s: %w", d, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// recall emits the log of a build that has ended.
func (h *history) recall(ref string, emit func(*client.SolveStatus) error) (bool, error) {
	h.mu.Lock()
	r, ok := h.ended[ref]
	h.mu.Unlock()
	if !ok || r.Logs == nil {
		return ok, nil
	}
	f, err := os.Open(filepath.Join(h.root, digest.Digest(r.Logs.Digest).Encoded()))
	if err != nil {
		return true, fmt.Errorf("read the log of a build: %w", err)
	}
	defer f.Close()
	return true, play(f, emit)
}
