package server

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
)

func TestStatuses(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{errdefs.ErrNotFound, 404},
		{errdefs.ErrNotFound.WithMessage("No such container: x"), 404},
		{fmt.Errorf("outer: %w", errdefs.ErrInvalidArgument), 400},
		{errdefs.ErrConflict, 409},
		{errdefs.ErrAlreadyExists, 409},
		{errdefs.ErrUnauthenticated, 401},
		{errdefs.ErrPermissionDenied, 403},
		{errdefs.ErrNotModified, 304},
		{errdefs.ErrNotImplemented, 501},
		{errdefs.ErrUnavailable, 503},
		{errdefs.ErrFailedPrecondition, 400},
		{errdefs.ErrOutOfRange, 400},
		{errdefs.ErrInternal, 500},
		{errdefs.ErrUnknown, 500},
		{context.Canceled, 500},
		{errors.New("raw"), 500},
		{fmt.Errorf("create: %w", fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, errdefs.ErrNotFound)), 400},
		{errors.Join(errors.New("raw"), errdefs.ErrConflict), 409},
	} {
		if got := statusOf(test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
}

func TestErrorBodies(t *testing.T) {
	p := Parts{Containers: fakeContainers{err: notFound("<x>")}, Course: fakeCourse{err: notFound("x")}, Lives: fakeLives{start: func(string) error { return errdefs.ErrNotModified }}}
	if w := ask(t, p, "GET", "/containers/x/json", ""); w.Code != 404 || w.Body.String() != `{"message":"No such container: <x>"}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(t, p, "POST", "/containers/x/kill", ""); w.Code != 404 || w.Body.String() != `{"message":"cannot kill container: x: No such container: x"}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(t, p, "POST", "/containers/x/start", ""); w.Code != 304 || w.Body.Len() != 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(t, p, "POST", "/containers/x/start", `{"Binds":[]}`); w.Code != 400 {
		t.Errorf("a start with a body: %d %s", w.Code, w.Body)
	}
}
