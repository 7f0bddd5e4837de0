package s3

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/containerd/errdefs"
	"github.com/minio/minio-go/v7"
)

// Attempts of one call, and what lies between them: five to six seconds in all. A client of the registry waits meanwhile, so it must end.
const (
	attempts     = 10
	firstBackoff = 20 * time.Millisecond
	maxBackoff   = 1500 * time.Millisecond
)

// try calls until it succeeds or fails for a reason that stays. Every call given to it may be repeated after it was carried out:
// S3's are, but for completing an upload, which minds that itself.
func (s *Store) try(ctx context.Context, verb, key string, call func() error) error {
	backoff := firstBackoff
	for n := 1; ; n++ {
		err := call()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s %s: %w", verb, s.name(key), context.Cause(ctx))
		}
		if n == attempts || !passing(err) {
			return s.failed(verb, key, err)
		}
		timer := time.NewTimer(backoff/2 + rand.N(backoff))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s %s: %w", verb, s.name(key), context.Cause(ctx))
		case <-timer.C:
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// errSilent is an answer that claims success and says nothing: a response that was cut, or a store that ignored what it was asked.
var errSilent = errors.New("the store's answer is empty")

// passing tells whether a failed call may succeed when it is made again. What is no answer of the store at all (a connection
// refused or cut, a response that ends too soon) may; an answer may by its code.
func passing(err error) bool {
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return !decided(err)
	}
	switch answer.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout, 499, 520:
		return true
	}
	switch answer.Code {
	case "RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded",
		"OperationAborted", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "ExpiredToken":
		return true
	}
	return false
}

// failed gives an error of the store its kind. That the store refuses the registry's own keys is not the fault of whoever asked
// the registry, so it is no "permission denied".
func (s *Store) failed(verb, key string, err error) error {
	var kind error = errdefs.ErrUnavailable
	var answer minio.ErrorResponse
	switch {
	case decided(err):
		return fmt.Errorf("%s %s: %w", verb, s.name(key), err)
	case !errors.As(err, &answer) || passing(err):
	case answer.Code == "NoSuchKey":
		kind = errdefs.ErrNotFound
	default:
		kind = errdefs.ErrInternal
	}
	return fmt.Errorf("S3: %s %s: %w: %w", verb, s.name(key), err, kind)
}

// decided tells whether an error has got its kind already.
func decided(err error) bool {
	return errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) || errdefs.IsOutOfRange(err) || errdefs.IsConflict(err) || errdefs.IsUnavailable(err)
}

func (s *Store) name(key string) string {
	if key == "" {
		return s.bucket
	}
	return s.bucket + "/" + s.prefix + key
}
