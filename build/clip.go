package build

import (
	"fmt"
	"sync"
	"time"

	"github.com/docker/go-units"
)

// LogLimits bound what a step's output may come to in the progress: what is beyond is dropped, with a line that says so.
// Zero takes the usual ones; a negative number is no limit.
type LogLimits struct {
	Size  int // bytes
	Speed int // bytes a second
}

// The usual limits.
const (
	logSize  = 2 << 20
	logSpeed = 100 << 10
)

// clip is the limit of one step.
type clip struct {
	limits LogLimits
	began  time.Time

	mu      sync.Mutex
	written int
	silent  bool
}

func newClip(limits LogLimits) *clip {
	if limits.Size == 0 {
		limits.Size = logSize
	}
	if limits.Speed == 0 {
		limits.Speed = logSpeed
	}
	return &clip{limits: limits, began: time.Now()}
}

// pass gives what to show of p, nil for nothing.
func (c *clip) pass(p []byte, now time.Time) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	room, why := len(p), ""
	if left := c.limits.Size - c.written; c.limits.Size > 0 && left < room {
		room, why = max(left, 0), fmt.Sprintf("log limit %s reached", units.BytesSize(float64(c.limits.Size)))
	}
	if c.limits.Speed > 0 {
		// The first second counts as whole: short bursts are nobody's harm.
		allowed := int(max(now.Sub(c.began).Seconds(), 1)*float64(c.limits.Speed)) - c.written
		if allowed < room {
			room, why = max(allowed, 0), fmt.Sprintf("log limit %s/s reached", units.BytesSize(float64(c.limits.Speed)))
		}
	}
	c.written += room
	out := append([]byte(nil), p[:room]...)
	switch {
	case why == "":
		c.silent = false
	case !c.silent:
		c.silent = true
		out = fmt.Appendf(out, "\n[output clipped, %s]\n", why)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
