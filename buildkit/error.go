package buildkit

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// statuses is the one table from kinds of error to codes of gRPC.
var statuses = []struct {
	kind error
	code codes.Code
}{
	{errdefs.ErrNotFound, codes.NotFound},
	{errdefs.ErrInvalidArgument, codes.InvalidArgument},
	{errdefs.ErrOutOfRange, codes.OutOfRange},
	{errdefs.ErrConflict, codes.Aborted},
	{errdefs.ErrAlreadyExists, codes.AlreadyExists},
	{errdefs.ErrUnauthenticated, codes.Unauthenticated},
	{errdefs.ErrUnavailable, codes.Unavailable},
	{errdefs.ErrPermissionDenied, codes.PermissionDenied},
	{errdefs.ErrNotImplemented, codes.Unimplemented},
	{errdefs.ErrInternal, codes.Internal},
	{errdefs.ErrFailedPrecondition, codes.FailedPrecondition},
}

// coded gives an error the code of its kind, if it has not one already. What goes wrong in a build stays without one, as
// BuildKit's clients expect: they print it before the message.
func coded(method string, err error) error {
	if err == nil || grpcerrors.Code(err) != codes.Unknown {
		return err
	}
	if method == control.Control_Solve_FullMethodName || strings.HasPrefix(method, "/"+gateway.LLBBridge_ServiceDesc.ServiceName+"/") {
		return err
	}
	kind := errdefs.Resolve(err)
	for _, s := range statuses {
		if kind != nil && errors.Is(kind, s.kind) {
			return grpcerrors.WrapCode(err, s.code)
		}
	}
	return err
}

// unary and stream turn errors into statuses, with the details that let clients print the place in a Dockerfile. A call
// that panics fails alone, as a request of HTTP does.
func (d *Door) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, call grpc.UnaryHandler) (any, error) {
	answer, err := grpcerrors.UnaryServerInterceptor(ctx, req, info, func(ctx context.Context, req any) (answer any, err error) {
		defer d.survive(info.FullMethod, &err)
		answer, err = call(ctx, req)
		return answer, coded(info.FullMethod, err)
	})
	return answer, bounded(err)
}

func (d *Door) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, call grpc.StreamHandler) error {
	return bounded(grpcerrors.StreamServerInterceptor(srv, s, info, func(srv any, s grpc.ServerStream) (err error) {
		defer d.survive(info.FullMethod, &err)
		return coded(info.FullMethod, call(srv, s))
	}))
}

// maxStatus bounds what an error may say: it travels in a header, and one that is too large breaks the connection.
const maxStatus = 1 << 20

// bounded leaves out the details of a status that are too large, such as the text of a Dockerfile of ten megabytes, and the
// end of a message that is.
func bounded(err error) error {
	told, ok := status.FromError(err)
	if err == nil || !ok || proto.Size(told.Proto()) <= maxStatus {
		return err
	}
	short := told.Proto() // a copy
	if len(short.Message) > maxStatus/4 {
		short.Message = strings.ToValidUTF8(short.Message[:maxStatus/4], "") + "…"
	}
	room := maxStatus / 2
	short.Details = slices.DeleteFunc(short.Details, func(detail *anypb.Any) bool {
		room -= len(detail.Value)
		return room < 0
	})
	return status.FromProto(short).Err()
}

func (d *Door) survive(method string, err *error) {
	if cause := recover(); cause != nil {
		d.Log.Error("a call panicked", "call", method, "panic", cause, "stack", string(debug.Stack()))
		*err = errdefs.ErrInternal.WithMessage("the daemon made a mistake, see its log")
	}
}
