package container

import (
	"fmt"
	"strconv"
	"time"

	"github.com/docker/go-units"
	ct "github.com/moby/moby/api/types/container"
)

// State is where a container stands in its life. The zero value is no state: records begin as Created.
type State struct {
	Status     ct.ContainerState
	Pid        int
	ExitCode   int
	Error      string
	OOMKilled  bool
	StartedAt  time.Time
	FinishedAt time.Time
	// Health is nil for containers without a health check.
	Health *ct.Health
}

// Alive tells whether the container has a process: running or paused.
func (s State) Alive() bool { return s.Status == ct.StateRunning || s.Status == ct.StatePaused }

// Busy tells whether the container counts as running for a user: alive, or waiting to be restarted.
func (s State) Busy() bool { return s.Alive() || s.Status == ct.StateRestarting }

// Begin is the state after the process was started.
func (s State) Begin(pid int, at time.Time, health *ct.Health) State {
	return State{Status: ct.StateRunning, Pid: pid, StartedAt: at, FinishedAt: s.FinishedAt, Health: health}
}

// Fail is the state after a start that failed: a container that never ran stays created.
func (s State) Fail(code int, message string) State {
	s.Pid, s.ExitCode, s.Error, s.Health = 0, code, message, nil
	if s.Status != ct.StateCreated {
		s.Status = ct.StateExited
	}
	return s
}

// End is the state after the process ended. Again tells that a restart policy will start it once more.
func (s State) End(code int, oom bool, at time.Time, again bool) State {
	s.Pid, s.ExitCode, s.OOMKilled, s.FinishedAt = 0, code, oom, at
	s.Status = ct.StateExited
	if again {
		s.Status = ct.StateRestarting
	}
	if s.Health != nil {
		h := *s.Health
		h.Status = ct.Unhealthy
		s.Health = &h
	}
	return s
}

// With is the same state under another status.
func (s State) With(status ct.ContainerState) State {
	s.Status = status
	return s
}

// API is the state as inspect shows it.
func (s State) API() *ct.State {
	return &ct.State{
		Status:     s.Status,
		Running:    s.Busy(),
		Paused:     s.Status == ct.StatePaused,
		Restarting: s.Status == ct.StateRestarting,
		Dead:       s.Status == ct.StateDead,
		OOMKilled:  s.OOMKilled,
		Pid:        s.Pid,
		ExitCode:   s.ExitCode,
		Error:      s.Error,
		StartedAt:  stamp(s.StartedAt),
		FinishedAt: stamp(s.FinishedAt),
		Health:     s.Health,
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Describe is the text of the STATUS column of ps at the moment now.
func (s State) Describe(now time.Time) string {
	up := units.HumanDuration(now.Sub(s.StartedAt))
	ago := units.HumanDuration(now.Sub(s.FinishedAt))
	switch s.Status {
	case ct.StatePaused:
		return "Up " + up + " (Paused)"
	case ct.StateRestarting:
		return "Restarting (" + strconv.Itoa(s.ExitCode) + ") " + ago + " ago"
	case ct.StateRunning:
		if h := s.healthWord(); h != "" {
			return "Up " + up + " (" + h + ")"
		}
		return "Up " + up
	case ct.StateRemoving:
		return "Removal In Progress"
	case ct.StateDead:
		return "Dead"
	case ct.StateCreated:
		return "Created"
	}
	if s.FinishedAt.IsZero() {
		return ""
	}
	return fmt.Sprintf("Exited (%d) %s ago", s.ExitCode, ago)
}

func (s State) healthWord() string {
	if s.Health == nil {
		return ""
	}
	switch s.Health.Status {
	case ct.Starting:
		return "health: starting"
	case ct.NoHealthcheck:
		return ""
	}
	return string(s.Health.Status)
}
