package client

import (
	"errors"
	"net/http"
	"os"
	"strings"

	"github.com/containerd/errdefs"
)

// Error is a daemon's refusal: its words and the status code they came with. errors.Is finds the
// errdefs kind that belongs to the code.
type Error struct {
	Status  int
	Message string
}

// Error gives the form docker's commands print.
func (e *Error) Error() string { return "Error response from daemon: " + e.Message }

// Unwrap gives the errdefs kind of the status code.
func (e *Error) Unwrap() error {
	switch e.Status {
	case http.StatusBadRequest:
		return errdefs.ErrInvalidArgument
	case http.StatusUnauthorized:
		return errdefs.ErrUnauthenticated
	case http.StatusForbidden:
		return errdefs.ErrPermissionDenied
	case http.StatusNotFound:
		return errdefs.ErrNotFound
	case http.StatusConflict:
		return errdefs.ErrConflict
	case http.StatusNotImplemented:
		return errdefs.ErrNotImplemented
	case http.StatusServiceUnavailable:
		return errdefs.ErrUnavailable
	default:
		return errdefs.ErrUnknown
	}
}

// ConnectError says that no daemon could be reached at Host.
type ConnectError struct {
	Host   string
	Daemon string // what it is called
	Err    error
}

// Error names the address, and the likely reason in words people search for.
func (e *ConnectError) Error() string {
	if errors.Is(e.Err, os.ErrPermission) {
		return "permission denied while trying to connect to the " + e.Daemon + " daemon socket at " + e.Host + ": " + e.Err.Error()
	}
	var far farError
	if errors.As(e.Err, &far) {
		return far.Error()
	}
	return "Cannot connect to the " + e.Daemon + " daemon at " + e.Host + ". Is the " + strings.ToLower(e.Daemon) + " daemon running?"
}

// Unwrap gives what the system said.
func (e *ConnectError) Unwrap() error { return e.Err }
