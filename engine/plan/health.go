package plan

import (
	"slices"
	"time"

	ct "github.com/moby/moby/api/types/container"
)

// Probe is a container's health check with every default filled in.
type Probe struct {
	// Args is the command, the container's shell in front where the check is a line for it.
	Args          []string
	Interval      time.Duration
	Timeout       time.Duration
	StartPeriod   time.Duration
	StartInterval time.Duration
	Retries       int
}

// HealthProbe reads a health check. ok is false where there is none, or it was switched off with NONE.
func HealthProbe(c *ct.Config) (p Probe, ok bool) {
	h := c.Healthcheck
	if h == nil || len(h.Test) == 0 {
		return p, false
	}
	switch h.Test[0] {
	case "CMD":
		p.Args = h.Test[1:]
	case "CMD-SHELL":
		shell := c.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		p.Args = slices.Concat(shell, h.Test[1:])
	}
	p.Interval = or(h.Interval, 30*time.Second)
	p.Timeout = or(h.Timeout, 30*time.Second)
	p.StartPeriod = h.StartPeriod
	p.StartInterval = or(h.StartInterval, 5*time.Second)
	p.Retries = or(h.Retries, 3)
	return p, len(p.Args) > 0
}

// Wait is the time from the end of one probe to the next: shorter while the container is still coming up.
func (p Probe) Wait(status ct.HealthStatus, up time.Duration) time.Duration {
	if status == ct.Starting && p.StartPeriod > 0 && up < p.StartPeriod {
		return p.StartInterval
	}
	return p.Interval
}

// keptResults is how many results inspect shows.
const keptResults = 5

// Next is the health after one more result. A failure in the start period does not count, a success ends it.
func (p Probe) Next(before *ct.Health, r *ct.HealthcheckResult, startedAt time.Time) *ct.Health {
	h := *before
	h.Log = append(slices.Clone(h.Log), r)
	if n := len(h.Log); n > keptResults {
		h.Log = h.Log[n-keptResults:]
	}
	if r.ExitCode == 0 {
		h.FailingStreak, h.Status = 0, ct.Healthy
		return &h
	}
	if h.Status == ct.Starting && p.StartPeriod > 0 && r.Start.Sub(startedAt) < p.StartPeriod {
		return &h
	}
	h.FailingStreak++
	if h.FailingStreak >= p.Retries {
		h.Status = ct.Unhealthy
	}
	return &h
}
