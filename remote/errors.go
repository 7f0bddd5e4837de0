package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/containerd/errdefs"
)

// Error is a registry's refusal. Its text is Docker's: "manifest unknown: manifest unknown".
type Error struct {
	Status int
	// Code and Message are the registry's own words, "" when its answer was no error document.
	Code, Message string
	URL           string
	// After is how long the registry asked to be left alone.
	After time.Duration
}

// Error gives the registry's words, or the status when it said nothing that could be understood.
func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("received unexpected HTTP status %d %s from %s", e.Status, http.StatusText(e.Status), e.URL)
	}
	words := strings.ToLower(strings.ReplaceAll(e.Code, "_", " "))
	if e.Message == "" {
		return words
	}
	return words + ": " + e.Message
}

// Unwrap is the kind of error.
func (e *Error) Unwrap() error {
	switch {
	case e.Status == http.StatusUnauthorized || e.Code == "UNAUTHORIZED":
		return errdefs.ErrUnauthenticated
	case e.Status == http.StatusForbidden || e.Code == "DENIED":
		return errdefs.ErrPermissionDenied
	case e.Status == http.StatusNotFound:
		return errdefs.ErrNotFound
	case e.Status == http.StatusTooManyRequests:
		return errdefs.ErrResourceExhausted
	case e.Status >= 500:
		return errdefs.ErrUnavailable
	}
	return errdefs.ErrUnknown
}

// refusal reads an error answer and closes it.
func refusal(resp *http.Response) *Error {
	defer resp.Body.Close()
	e := &Error{Status: resp.StatusCode, URL: resp.Request.URL.Redacted(), After: retryAfter(resp)}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var document struct {
		Errors []struct {
			Code, Message string
		}
		Details string // what token services of another school say
	}
	if json.Unmarshal(body, &document) == nil {
		if len(document.Errors) > 0 {
			e.Code, e.Message = document.Errors[0].Code, document.Errors[0].Message
		} else if document.Details != "" && e.Status == http.StatusUnauthorized {
			e.Code, e.Message = "UNAUTHORIZED", document.Details
		}
	}
	e.Code, e.Message = harmless(e.Code), harmless(e.Message)
	if e.Code == "" {
		e.Code = defaultCode(e.Status)
	}
	return e
}

// harmless is text that does nothing but be read: what a registry says ends up in terminals and logs.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, text)
}

// defaultCode names the refusals whose meaning is plain without words.
func defaultCode(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "UNAUTHORIZED"
	case http.StatusForbidden:
		return "DENIED"
	case http.StatusTooManyRequests:
		return "TOOMANYREQUESTS"
	}
	return ""
}

// errStalled ends a transfer in which nothing came for too long.
var errStalled = errors.New("the registry sent nothing for too long")

func isRefusal(err error, statuses ...int) bool {
	var e *Error
	return errors.As(err, &e) && slices.Contains(statuses, e.Status)
}
