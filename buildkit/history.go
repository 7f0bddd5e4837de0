package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	"github.com/opencontainers/go-digest"
)

// ListenBuildHistory tells of builds, past and present.
func (s *controlServer) ListenBuildHistory(r *control.BuildHistoryRequest, stream control.Control_ListenBuildHistoryServer) error {
	if err := sendClock(stream); err != nil {
		return err
	}
	return s.door.History.Listen(stream.Context(), r, stream.Send)
}

// UpdateBuildHistory removes a build from the history, or keeps it from being removed.
func (s *controlServer) UpdateBuildHistory(ctx context.Context, r *control.UpdateBuildHistoryRequest) (*control.UpdateBuildHistoryResponse, error) {
	return &control.UpdateBuildHistoryResponse{}, s.door.History.Update(ctx, r)
}

// contentServer gives clients what the records of the history name: logs, errors, provenance. Nothing can be written.
type contentServer struct {
	contentapi.UnimplementedContentServer
	history History
}

// Info tells a blob's size.
func (s *contentServer) Info(ctx context.Context, r *contentapi.InfoRequest) (*contentapi.InfoResponse, error) {
	blob, size, err := s.open(ctx, r.Digest)
	if err != nil {
		return nil, err
	}
	blob.Close()
	return &contentapi.InfoResponse{Info: &contentapi.Info{Digest: r.Digest, Size: size}}, nil
}

// chunk is how much of a blob one message holds.
const chunk = 1 << 20

// Read sends a blob, or a part of it.
func (s *contentServer) Read(r *contentapi.ReadContentRequest, stream contentapi.Content_ReadServer) error {
	blob, size, err := s.open(stream.Context(), r.Digest)
	if err != nil {
		return err
	}
	defer blob.Close()
	if r.Offset < 0 || r.Size < 0 || r.Offset > size || r.Offset+r.Size > size {
		return errdefs.ErrOutOfRange.WithMessage(fmt.Sprintf("blob %s has %d bytes", r.Digest, size))
	}
	if _, err := blob.Seek(r.Offset, io.SeekStart); err != nil {
		return err
	}
	rest := size - r.Offset
	if r.Size > 0 {
		rest = r.Size
	}
	for at := r.Offset; rest > 0; {
		data := make([]byte, min(rest, chunk))
		n, err := io.ReadFull(blob, data)
		if err != nil {
			return fmt.Errorf("read blob %s: %w", r.Digest, err)
		}
		if err := stream.Send(&contentapi.ReadContentResponse{Offset: at, Data: data}); err != nil {
			return err
		}
		at, rest = at+int64(n), rest-int64(n)
	}
	return nil
}

func (s *contentServer) open(ctx context.Context, name string) (io.ReadSeekCloser, int64, error) {
	d, err := digest.Parse(name)
	if err != nil {
		return nil, 0, errors.Join(errdefs.ErrInvalidArgument.WithMessage("invalid digest "+name), err)
	}
	return s.history.Blob(ctx, d)
}
