package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/repository"
)

// refusal is an error of the door itself.
type refusal struct {
	status int
	code   repository.Code
	text   string
}

func (e *refusal) Error() string { return e.text }

var (
	errNoSuchCall = &refusal{http.StatusNotFound, unsupported, "there is no such call"}
	errNotAllowed = &refusal{http.StatusMethodNotAllowed, unsupported, "the method is not supported here"}
	errReadOnly   = &refusal{http.StatusMethodNotAllowed, unsupported, "this registry is read-only"}
)

// Codes of the specification that only the door uses.
const (
	unsupported     repository.Code = "UNSUPPORTED"
	unauthorized    repository.Code = "UNAUTHORIZED"
	tooManyRequests repository.Code = "TOOMANYREQUESTS"
	unknown         repository.Code = "UNKNOWN"
)

// statuses is the one table from what an error is to what is answered. The first row that holds counts.
var statuses = []struct {
	is     func(error) bool
	status int
	code   repository.Code
}{
	{func(err error) bool { return errors.Is(err, repository.ErrRange) }, http.StatusRequestedRangeNotSatisfiable, repository.BlobUploadInvalid},
	{errdefs.IsUnauthorized, http.StatusUnauthorized, unauthorized},
	{errdefs.IsPermissionDenied, http.StatusForbidden, repository.Denied},
	{errdefs.IsNotFound, http.StatusNotFound, repository.NameUnknown},
	{errdefs.IsInvalidArgument, http.StatusBadRequest, repository.ManifestInvalid},
	{errdefs.IsFailedPrecondition, http.StatusBadRequest, repository.SizeInvalid},
	{errdefs.IsOutOfRange, http.StatusRequestEntityTooLarge, repository.SizeInvalid},
	{errdefs.IsAborted, http.StatusBadRequest, repository.BlobUploadInvalid},
	{errdefs.IsNotImplemented, http.StatusMethodNotAllowed, unsupported},
	{errdefs.IsResourceExhausted, http.StatusInsufficientStorage, unknown},
	{errdefs.IsUnavailable, http.StatusServiceUnavailable, unknown},
	{func(error) bool { return true }, http.StatusInternalServerError, unknown},
}

func statusOf(err error) (int, repository.Code) {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.status, r.code
	}
	code := repository.CodeOf(err)
	for _, row := range statuses {
		if !row.is(err) {
			continue
		}
		if code == "" {
			code = row.code
		}
		return row.status, code
	}
	return http.StatusInternalServerError, unknown
}

// fail answers with an error. Of what went wrong inside, the client hears only that it did.
func (c *call) fail(err error) {
	status, code := statusOf(err)
	text := err.Error()
	switch {
	case c.r.Context().Err() != nil:
		// The client is gone, most often. Where only we are going, no answer at all would be sent as a success.
		status, code, text = http.StatusServiceUnavailable, unknown, "the request was given up"
	case status >= 500:
		c.log.Error("registry", "method", c.r.Method, "path", c.r.URL.Path, "error", err)
		text = http.StatusText(status)
		if status == http.StatusInsufficientStorage {
			text = "the registry has no space left"
		}
	}
	if c.w.status != 0 {
		return // the client has its answer, and misses the rest
	}
	h := c.w.Header()
	if challenge, ok := errors.AsType[interface {
		error
		Challenge() string
	}](err); ok && status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", challenge.Challenge())
	}
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	for _, name := range []string{"ETag", "Cache-Control", "Accept-Ranges", "Content-Length", "Docker-Content-Digest"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	type one struct {
		Code    repository.Code `json:"code"`
		Message string          `json:"message"`
		Detail  any             `json:"detail"`
	}
	body, err := json.Marshal(map[string][]one{"errors": {{code, text, nil}}})
	if err != nil {
		body = fmt.Appendf(nil, `{"errors":[{"code":%q}]}`, code)
	}
	c.w.WriteHeader(status)
	if c.r.Method != http.MethodHead {
		c.w.Write(body)
	}
}

func badRequest(code repository.Code, format string, args ...any) error {
	return &refusal{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}
