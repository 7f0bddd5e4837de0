package buildkit

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	types "github.com/moby/buildkit/api/types"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session/grpchijack"
	"github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/cove-containers/cove/build"
)

// controlServer is the service that builds are begun, watched and looked after with.
type controlServer struct {
	control.UnimplementedControlServer
	door *Door
}

// clockHeader tells a client the daemon's time, which it counts the times of progress from.
const clockHeader = "buildkit-current-timestamp"

func sendClock(s grpc.ServerStream) error {
	return s.SendHeader(metadata.Pairs(clockHeader, time.Now().Format(time.RFC3339Nano)))
}

// Solve builds. A client that names neither a front end nor a definition steers the build itself, through the bridge.
func (s *controlServer) Solve(ctx context.Context, r *control.SolveRequest) (*control.SolveResponse, error) {
	if r.Ref == "" {
		return nil, errdefs.ErrInvalidArgument.WithMessage("a build needs a ref")
	}
	request := requestOf(r)
	steers := r.Frontend == "" && r.Definition == nil
	if steers {
		defer s.door.steered.end(r.Ref)
	}
	if err := s.door.allowed(request.Entitlements); err != nil {
		return nil, err
	}
	if steers {
		request.Front = s.door.steered.front(r.Ref, r.FrontendInputs)
	}
	done, err := s.door.Builder.Solve(ctx, request)
	if err != nil {
		return nil, err
	}
	return &control.SolveResponse{ExporterResponse: done.Exporter}, nil
}

// allowed refuses what the daemon's settings keep from all builds. A wish may go on after its name: "device=vendor.com/gpu=0".
func (d *Door) allowed(wishes []string) error {
	for _, wish := range wishes {
		if name, _, _ := strings.Cut(wish, "="); !slices.Contains(d.Entitlements, name) {
			return errdefs.ErrPermissionDenied.WithMessage("granting entitlement " + wish + " is not allowed by build daemon configuration")
		}
	}
	return nil
}

// requestOf reads a request, with the words that older clients say the same things by.
func requestOf(r *control.SolveRequest) build.Request {
	out := build.Request{
		ID: r.Ref, Definition: r.Definition, FrontEnd: r.Frontend, Options: r.FrontendAttrs,
		Inputs: r.FrontendInputs, Entitlements: r.Entitlements, Internal: r.Internal,
	}
	if r.Session != "" {
		out.Sessions = []string{r.Session}
	}
	if r.SourcePolicy != nil {
		out.Policies = []*spb.Policy{r.SourcePolicy}
	}
	exporters := r.Exporters
	if len(exporters) == 0 && r.ExporterDeprecated != "" {
		exporters = []*control.Exporter{{Type: r.ExporterDeprecated, Attrs: r.ExporterAttrsDeprecated}}
	}
	for _, e := range exporters {
		out.Exporters = append(out.Exporters, build.Exporter{Type: e.GetType(), Attrs: withEpoch(e.GetAttrs(), r.FrontendAttrs)})
	}
	cache := r.Cache
	if cache == nil {
		return out
	}
	for _, e := range cache.Imports {
		if e != nil {
			out.CacheImports = append(out.CacheImports, gwclient.CacheOptionsEntry{Type: e.Type, Attrs: e.Attrs})
		}
	}
	for _, ref := range cache.ImportRefsDeprecated {
		out.CacheImports = append(out.CacheImports, gwclient.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": ref}})
	}
	for _, e := range cache.Exports {
		if e != nil {
			out.CacheExports = append(out.CacheExports, gwclient.CacheOptionsEntry{Type: e.Type, Attrs: e.Attrs})
		}
	}
	if cache.ExportRefDeprecated != "" {
		attrs := map[string]string{"ref": cache.ExportRefDeprecated}
		for k, v := range cache.ExportAttrsDeprecated {
			attrs[k] = v
		}
		out.CacheExports = append(out.CacheExports, gwclient.CacheOptionsEntry{Type: "registry", Attrs: attrs})
	}
	return out
}

// withEpoch lets the build argument SOURCE_DATE_EPOCH count for an exporter that has not its own.
func withEpoch(attrs, options map[string]string) map[string]string {
	epoch, ok := options["build-arg:SOURCE_DATE_EPOCH"]
	if _, own := attrs[string(exptypes.OptKeySourceDateEpoch)]; own || !ok {
		return attrs
	}
	out := map[string]string{string(exptypes.OptKeySourceDateEpoch): epoch}
	for k, v := range attrs {
		out[k] = v
	}
	return out
}

// Status tells how a build comes along.
func (s *controlServer) Status(r *control.StatusRequest, stream control.Control_StatusServer) error {
	if err := sendClock(stream); err != nil {
		return err
	}
	return s.door.Builder.Status(stream.Context(), r.Ref, func(status *client.SolveStatus) error {
		for _, message := range status.Marshal() {
			if err := stream.Send(message); err != nil {
				return err
			}
		}
		return nil
	})
}

// Session lends the daemon what a client has (files, secrets, credentials), as a gRPC connection in the other direction
// inside this call.
func (s *controlServer) Session(stream control.Control_SessionServer) error {
	conn, hungUp, headers := grpchijack.Hijack(stream)
	defer conn.Close()
	if id := headers[strings.ToLower(sessionIDHeader)]; len(id) == 1 {
		if err := s.door.SessionFree(stream.Context(), id[0]); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go func() {
		select {
		case <-hungUp:
			cancel()
		case <-ctx.Done():
		}
	}()
	return s.door.Session(ctx, conn, headers)
}

// sessionIDHeader is where a client says by which name its session is to be asked for.
const sessionIDHeader = "X-Docker-Expose-Session-Uuid"

// ListWorkers tells what can be built here.
func (s *controlServer) ListWorkers(_ context.Context, r *control.ListWorkersRequest) (*control.ListWorkersResponse, error) {
	answer := &control.ListWorkersResponse{}
	chosen, err := filters.ParseAll(r.Filter...)
	if err != nil {
		return nil, err
	}
	for _, w := range s.door.Builder.Workers() {
		if !chosen.Match(fieldsOf(w)) {
			continue
		}
		record := &types.WorkerRecord{
			ID: w.ID, Labels: w.Labels, Platforms: pb.PlatformsFromSpec(w.Platforms), BuildkitVersion: versionOf(w.BuildkitVersion),
		}
		for _, p := range w.GCPolicy {
			record.GCPolicy = append(record.GCPolicy, &types.GCPolicy{
				All: p.All, Filters: p.Filter, KeepDuration: int64(p.KeepDuration),
				ReservedSpace: p.ReservedSpace, MaxUsedSpace: p.MaxUsedSpace, MinFreeSpace: p.MinFreeSpace,
			})
		}
		answer.Record = append(answer.Record, record)
	}
	return answer, nil
}

// fieldsOf lets filters ask for a worker's "id" and "labels".
func fieldsOf(w client.WorkerInfo) filters.Adaptor {
	return filters.AdapterFunc(func(path []string) (string, bool) {
		switch {
		case len(path) == 1 && path[0] == "id":
			return w.ID, true
		case len(path) > 1 && path[0] == "labels":
			v, ok := w.Labels[strings.Join(path[1:], ".")]
			return v, ok
		}
		return "", false
	})
}

// Info tells which BuildKit this is: the release whose protocol and front end are spoken.
func (s *controlServer) Info(context.Context, *control.InfoRequest) (*control.InfoResponse, error) {
	answer := &control.InfoResponse{}
	for _, w := range s.door.Builder.Workers() {
		answer.BuildkitVersion = versionOf(w.BuildkitVersion)
	}
	return answer, nil
}

func versionOf(v client.BuildkitVersion) *types.BuildkitVersion {
	return &types.BuildkitVersion{Package: v.Package, Version: v.Version, Revision: v.Revision, DockerfileVersion: v.DockerfileVersion}
}
