package buildkit

import (
	"context"
	"errors"
	"runtime/debug"
	"strings"

	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
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
	return grpcerrors.UnaryServerInterceptor(ctx, req, info, func(ctx context.Context, req any) (answer any, err error) {
		defer d.survive(info.FullMethod, &err)
		answer, err = call(ctx, req)
		return answer, coded(info.FullMethod, err)
	})
}

func (d *Door) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, call grpc.StreamHandler) error {
	return grpcerrors.StreamServerInterceptor(srv, s, info, func(srv any, s grpc.ServerStream) (err error) {
		defer d.survive(info.FullMethod, &err)
		return coded(info.FullMethod, call(srv, s))
	})
}

func (d *Door) survive(method string, err *error) {
	if cause := recover(); cause != nil {
		d.Log.Error("a call panicked", "call", method, "panic", cause, "stack", string(debug.Stack()))
		*err = errdefs.ErrInternal.WithMessage("the daemon made a mistake, see its log")
	}
}
