package server

import (
	"context"
	"errors"
	"net/http"

	"github.com/containerd/errdefs"
)

// statuses is the one table from kinds of error to status codes.
var statuses = []struct {
	kind   error
	status int
}{
	{errdefs.ErrNotFound, http.StatusNotFound},
	{errdefs.ErrInvalidArgument, http.StatusBadRequest},
	{errdefs.ErrOutOfRange, http.StatusBadRequest},
	{errdefs.ErrConflict, http.StatusConflict},
	{errdefs.ErrAlreadyExists, http.StatusConflict},
	{errdefs.ErrUnauthenticated, http.StatusUnauthorized},
	{errdefs.ErrUnavailable, http.StatusServiceUnavailable},
	{errdefs.ErrPermissionDenied, http.StatusForbidden},
	{errdefs.ErrNotModified, http.StatusNotModified},
	{errdefs.ErrNotImplemented, http.StatusNotImplemented},
	{errdefs.ErrFailedPrecondition, http.StatusBadRequest},
}

// statusOf gives the code of an error. Where several kinds are in one chain the outermost counts.
func statusOf(err error) int {
	if kind := errdefs.Resolve(err); kind != nil {
		err = kind
	}
	for _, s := range statuses {
		if errors.Is(err, s.kind) {
			return s.status
		}
	}
	return http.StatusInternalServerError
}

// gone tells whether an error only says that nobody waits for the answer any more.
func gone(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

// bad makes an errdefs.ErrInvalidArgument with exactly these words.
func bad(message string) error { return errdefs.ErrInvalidArgument.WithMessage(message) }

// missing is what calls answer that Cove knows but does not do yet.
func missing(what string) error {
	return errdefs.ErrNotImplemented.WithMessage(what + " is not supported by this version of Cove")
}
