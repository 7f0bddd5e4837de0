// Package shape knows how requests and answers look in each version of the API: what older clients send and what they
// expect to get. It is pure; the handlers of package server call it.
package shape

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/api"
)

// Version is an API version as a number that compares: 1.24 is 1024.
type Version int

// The bounds of what is spoken, as numbers.
var (
	Oldest = parseVersion(api.MinVersion)
	newest = parseVersion(api.Version)
)

// parseVersion reads the first two numbers of a dotted version. What is no number counts as 0.
func parseVersion(s string) Version {
	major, rest, _ := strings.Cut(s, ".")
	minor, _, _ := strings.Cut(rest, ".")
	return Version(min(number(major), 1000)*1000 + min(number(minor), 999))
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil && len(s) > 9 {
		return 1 << 20 // too long for a number is at least very large
	}
	return n
}

// CutVersion takes "/v1.40" off the front of a path. Without one it gives an empty version.
func CutVersion(path string) (raw, rest string) {
	after, ok := strings.CutPrefix(path, "/v")
	if !ok {
		return "", path
	}
	end := strings.IndexByte(after, '/')
	if end <= 0 || strings.Trim(after[:end], "0123456789.") != "" {
		return "", path
	}
	return after[:end], after[end:]
}

// CheckVersion gives the version a request speaks: the newest when it names none.
func CheckVersion(raw string) (Version, error) {
	if raw == "" {
		return newest, nil
	}
	v := parseVersion(raw)
	if v < Oldest {
		return v, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", raw, api.MinVersion))
	}
	if v > newest {
		return v, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("client version %s is too new. Maximum supported API version is %s", raw, api.Version))
	}
	return v, nil
}

// bad makes an errdefs.ErrInvalidArgument with exactly these words.
func bad(message string) error { return errdefs.ErrInvalidArgument.WithMessage(message) }
