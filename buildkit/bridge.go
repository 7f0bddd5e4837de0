package buildkit

import (
	"context"

	"github.com/containerd/errdefs"
	types "github.com/moby/buildkit/api/types"
	"github.com/moby/buildkit/client/buildid"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"

	"github.com/cove-containers/cove/build"
)

// bridgeServer answers what the client of a steered build asks for; the build's ID comes with every call.
type bridgeServer struct {
	gateway.UnimplementedLLBBridgeServer
	steered *steered
}

func (s *bridgeServer) build(ctx context.Context) (*steering, error) {
	id := buildid.FromIncomingContext(ctx)
	if id == "" {
		return nil, errdefs.ErrInvalidArgument.WithMessage("no build ID in the call")
	}
	return s.steered.find(ctx, id)
}

// Ping tells a client what it may ask for.
func (s *bridgeServer) Ping(ctx context.Context, _ *gateway.PingRequest) (*gateway.PongResponse, error) {
	b, err := s.build(ctx)
	if err != nil {
		return nil, err
	}
	pong := &gateway.PongResponse{FrontendAPICaps: gateway.Caps.All(), LLBCaps: build.LLBCaps()}
	for _, w := range b.client.BuildOpts().Workers {
		pong.Workers = append(pong.Workers, &types.WorkerRecord{ID: w.ID, Labels: w.Labels, Platforms: pb.PlatformsFromSpec(w.Platforms)})
	}
	return pong, nil
}

// Solve builds a definition, or has a front end of the daemon's make one. With Evaluate it waits for the result.
func (s *bridgeServer) Solve(ctx context.Context, r *gateway.SolveRequest) (*gateway.SolveResponse, error) {
	b, err := s.build(ctx)
	if err != nil {
		return nil, err
	}
	wish := gwclient.SolveRequest{
		Evaluate: r.Evaluate, Definition: r.Definition, Frontend: r.Frontend, FrontendOpt: r.FrontendOpt,
		FrontendInputs: r.FrontendInputs, SourcePolicies: r.SourcePolicies,
	}
	for _, c := range r.CacheImports {
		wish.CacheImports = append(wish.CacheImports, gwclient.CacheOptionsEntry{Type: c.GetType(), Attrs: c.GetAttrs()})
	}
	found, err := b.client.Solve(ctx, wish)
	if err != nil {
		return nil, err
	}
	if len(found.Refs) > 0 && !r.AllowResultReturn {
		return nil, errdefs.ErrInvalidArgument.WithMessage("the client does not take the result of several platforms")
	}
	result, only, err := b.tell(ctx, found, r.AllowResultArrayRef)
	if err != nil {
		return nil, err
	}
	answer := &gateway.SolveResponse{Result: result}
	if !r.AllowResultReturn {
		answer.Ref = only
	}
	return answer, nil
}

// Return takes the result of the client's front end.
func (s *bridgeServer) Return(ctx context.Context, r *gateway.ReturnRequest) (*gateway.ReturnResponse, error) {
	b, err := s.build(ctx)
	if err != nil {
		return nil, err
	}
	if r.Error != nil {
		failure := grpcerrors.FromGRPC(status.ErrorProto(&rpc.Status{Code: r.Error.Code, Message: r.Error.Message, Details: r.Error.Details}))
		return &gateway.ReturnResponse{}, b.finish(nil, failure)
	}
	if r.Result == nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage("neither a result nor an error is returned")
	}
	result, err := b.take(r.Result)
	if err != nil {
		return nil, err
	}
	return &gateway.ReturnResponse{}, b.finish(result, nil)
}

// Inputs gives the definitions that came with the build.
func (s *bridgeServer) Inputs(ctx context.Context, _ *gateway.InputsRequest) (*gateway.InputsResponse, error) {
	b, err := s.build(ctx)
	if err != nil {
		return nil, err
	}
	return &gateway.InputsResponse{Definitions: b.inputs}, nil
}

// Warn puts a warning into the build's progress.
func (s *bridgeServer) Warn(ctx context.Context, r *gateway.WarnRequest) (*gateway.WarnResponse, error) {
	b, err := s.build(ctx)
	if err != nil {
		return nil, err
	}
	for _, at := range r.Ranges {
		if at == nil {
			return nil, errdefs.ErrInvalidArgument.WithMessage("invalid source range")
		}
	}
	err = b.client.Warn(ctx, digest.Digest(r.Digest), string(r.Short), gwclient.WarnOpts{
		Level: int(r.Level), SourceInfo: r.Info, Range: r.Ranges, Detail: r.Detail, URL: r.Url,
	})
	return &gateway.WarnResponse{}, err
}
