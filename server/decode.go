package server

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/server/shape"
)

// maxBody bounds a JSON body. The largest that makes sense, a container with a seccomp profile and thousands of
// variables, is below a megabyte.
const maxBody = 16 << 20

// query holds a request's parameters.
type query url.Values

func parseQuery(raw string) (query, error) {
	if raw == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, bad(err.Error())
	}
	return query(values), nil
}

func (q query) get(name string) string { return url.Values(q).Get(name) }

func (q query) has(name string) bool { return url.Values(q).Has(name) }

// bool takes everything for yes but the known words for no.
func (q query) bool(name string) bool {
	switch strings.ToLower(strings.TrimSpace(q.get(name))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// boolOr is bool with a value for a parameter that is not there.
func (q query) boolOr(name string, absent bool) bool {
	if !q.has(name) {
		return absent
	}
	return q.bool(name)
}

// int gives nil for a parameter that is absent or empty.
func (q query) int(name string) (*int, error) {
	raw := q.get(name)
	if raw == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(raw)
	if err != nil {
		return nil, bad(fmt.Sprintf("invalid value for %s: %v", name, err))
	}
	return &n, nil
}

func (q query) filters() (api.Filters, error) { return api.ParseFilters(q.get("filters")) }

// time reads seconds since 1970 with an optional fraction of nanoseconds, or, as old clients may write, RFC 3339.
// An absent parameter, and 0, is the zero time.
func (q query) time(name string) (time.Time, error) {
	t, err := parseTime(q.get(name))
	if err != nil {
		return t, bad(fmt.Sprintf("invalid value for %q: %v", name, err))
	}
	return t, nil
}

func parseTime(raw string) (time.Time, error) {
	if raw == "" {
		return time.Time{}, nil
	}
	whole, fraction, _ := strings.Cut(raw, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		if t, err := time.Parse(time.RFC3339Nano, raw); err == nil {
			return t, nil
		}
		return time.Time{}, err
	}
	var nanos int64
	if fraction != "" {
		digits := (fraction + "000000000")[:9]
		if nanos, err = strconv.ParseInt(digits, 10, 64); err != nil || nanos < 0 {
			return time.Time{}, fmt.Errorf("parsing %q: invalid fraction", raw)
		}
		if strings.HasPrefix(whole, "-") {
			nanos = -nanos
		}
	}
	if seconds == 0 && nanos == 0 {
		return time.Time{}, nil
	}
	return time.Unix(seconds, nanos), nil
}

// size reads the parameters h and w of a terminal.
func (q query) size() (height, width uint, err error) {
	for _, p := range []struct {
		name, word string
		to         *uint
	}{{"h", "height", &height}, {"w", "width", &width}} {
		n, err := parseSize(q.get(p.name))
		if err != nil {
			return 0, 0, bad(fmt.Sprintf("invalid resize %s %q: %v", p.word, q.get(p.name), err))
		}
		*p.to = n
	}
	return height, width, nil
}

func parseSize(raw string) (uint, error) {
	digits, negative := strings.CutPrefix(raw, "-")
	if digits == "" || digits[0] == '+' {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return 0, errors.Unwrap(err)
	}
	if negative {
		return 0, strconv.ErrRange
	}
	return uint(n), nil
}

// readJSON decodes the body into out; a body that is not there leaves it as it is. Unknown fields are passed over,
// anything behind the value is refused.
func (c *call) readJSON(out any) error {
	kind := c.Header.Get("Content-Type")
	if kind == "" && c.ContentLength == 0 {
		return nil
	}
	if err := checkJSON(kind); err != nil {
		return err
	}
	if c.ContentLength == 0 {
		return nil
	}
	return shape.DecodeJSON(http.MaxBytesReader(c.w, c.Body, maxBody), out)
}

func checkJSON(contentType string) error {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return bad(fmt.Sprintf("malformed Content-Type header (%s): %v", contentType, err))
	}
	if kind != "application/json" {
		return bad(fmt.Sprintf("unsupported Content-Type header (%s): must be 'application/json'", contentType))
	}
	return nil
}
