package api

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// Until reads the filter "until" of a prune request: a duration before now, a Unix time, or a date with or without
// time and zone. The zero time is none; several are errdefs.ErrInvalidArgument.
func (f Filters) Until(now time.Time) (time.Time, error) {
	values := f.Get("until")
	switch len(values) {
	case 0:
		return time.Time{}, nil
	case 1:
	default:
		return time.Time{}, errdefs.ErrInvalidArgument.WithMessage("more than one until filter specified")
	}
	t, ok := moment(values[0], now)
	if !ok {
		return time.Time{}, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("parsing time %q as \"2006-01-02\": cannot parse", values[0]))
	}
	return t, nil
}

// moment reads one point in time.
func moment(text string, now time.Time) (time.Time, bool) {
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), true
	}
	seconds, fraction, _ := strings.Cut(text, ".")
	if s, err := strconv.ParseInt(seconds, 10, 64); err == nil {
		if n, err := strconv.ParseUint((fraction + "000000000")[:9], 10, 32); err == nil {
			return time.Unix(s, int64(n)), true
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02Z07:00", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
