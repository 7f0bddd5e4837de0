package s3

import (
	"net/http"
	"sync/atomic"
	"time"
)

// clock learns from every answer how far the store's clock is ahead of this machine's. What is garbage is decided by how old it is, so
// a replica whose clock is wrong would remove what others have just pushed.
type clock struct {
	next  http.RoundTripper
	ahead atomic.Int64
}

// RoundTrip passes a call on.
func (c *clock) RoundTrip(r *http.Request) (*http.Response, error) {
	asked := time.Now()
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return resp, err
	}
	// The header is cut to the second; an answer that took long says nothing exact.
	date, bad := http.ParseTime(resp.Header.Get("Date"))
	if took := time.Since(asked); bad == nil && took < 2*time.Second {
		ahead := date.Add(time.Second / 2).Sub(asked.Add(took / 2))
		if ahead.Abs() < 3*time.Second {
			ahead = 0
		}
		c.ahead.Store(int64(ahead))
	}
	return resp, nil
}

// here is a time of the store's by the clock of this machine.
func (c *clock) here(t time.Time) time.Time { return t.Add(-time.Duration(c.ahead.Load())) }
