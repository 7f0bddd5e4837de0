package buildkit

import (
	"context"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
)

// Evaluate waits until a result is there.
func (s *bridgeServer) Evaluate(ctx context.Context, r *gateway.EvaluateRequest) (*gateway.EvaluateResponse, error) {
	ref, err := s.solid(ctx, r.Ref)
	if err != nil {
		return nil, err
	}
	return &gateway.EvaluateResponse{}, ref.Evaluate(ctx)
}

// ReadFile reads a file, or a part of it, of a result.
func (s *bridgeServer) ReadFile(ctx context.Context, r *gateway.ReadFileRequest) (*gateway.ReadFileResponse, error) {
	ref, err := s.solid(ctx, r.Ref)
	if err != nil {
		return nil, err
	}
	data, err := ref.ReadFile(ctx, readRequest(r))
	if err != nil {
		return nil, err
	}
	return &gateway.ReadFileResponse{Data: data}, nil
}

// ReadDir lists a folder of a result.
func (s *bridgeServer) ReadDir(ctx context.Context, r *gateway.ReadDirRequest) (*gateway.ReadDirResponse, error) {
	ref, err := s.solid(ctx, r.Ref)
	if err != nil {
		return nil, err
	}
	entries, err := ref.ReadDir(ctx, gwclient.ReadDirRequest{Path: r.DirPath, IncludePattern: r.IncludePattern})
	if err != nil {
		return nil, err
	}
	return &gateway.ReadDirResponse{Entries: entries}, nil
}

// StatFile tells of one file of a result.
func (s *bridgeServer) StatFile(ctx context.Context, r *gateway.StatFileRequest) (*gateway.StatFileResponse, error) {
	ref, err := s.solid(ctx, r.Ref)
	if err != nil {
		return nil, err
	}
	stat, err := ref.StatFile(ctx, gwclient.StatRequest{Path: r.Path})
	if err != nil {
		return nil, err
	}
	return &gateway.StatFileResponse{Stat: stat}, nil
}

func (s *bridgeServer) solid(ctx context.Context, id string) (gwclient.Reference, error) {
	b, err := s.build(ctx)
	if err != nil {
		return nil, err
	}
	return b.solid(id)
}

func readRequest(r *gateway.ReadFileRequest) gwclient.ReadRequest {
	wish := gwclient.ReadRequest{Filename: r.FilePath}
	if part := r.Range; part != nil {
		wish.Range = &gwclient.FileRange{Offset: int(part.Offset), Length: int(part.Length)}
	}
	return wish
}
