package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
)

const (
	// commandKept is how long a command that has ended can still be inspected, at least.
	commandKept = 5 * time.Minute
	// sweepEvery is how often those that ended long ago are dropped.
	sweepEvery = 30 * time.Second
	// beginTime is how long whoever needs a command that runs waits for its start.
	beginTime = 10 * time.Second
)

// command is one exec: a process prepared or run in a container.
type command struct {
	ID, ContainerID string
	Request         ct.ExecCreateRequest

	mu      sync.Mutex
	state   commandState
	pid     int
	code    *int
	endedAt time.Time
	begun   chan struct{} // closed when it runs or cannot
	// ended is closed when the exit code is known.
	ended chan struct{}
}

type commandState int

const (
	prepared commandState = iota
	starting
	running
	ended
)

// note is what a supervisor keeps of the command for a daemon to come.
func (x *command) note() (json.RawMessage, error) {
	return json.Marshal(commandNote{x.ID, x.ContainerID, x.Request})
}

// read is the inverse of note.
func (x *command) read(raw json.RawMessage) error {
	var n commandNote
	if err := json.Unmarshal(raw, &n); err != nil {
		return fmt.Errorf("read the note of a command: %w", err)
	}
	x.ID, x.ContainerID, x.Request = n.ID, n.ContainerID, n.Request
	if len(x.Request.Cmd) == 0 {
		return fmt.Errorf("the note of command %q names no program: %w", x.ID, errdefs.ErrDataLoss)
	}
	return nil
}

type commandNote struct {
	ID, ContainerID string
	Request         ct.ExecCreateRequest
}

// start claims the command: it runs once.
func (x *command) start() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch x.state {
	case starting, running:
		return errdefs.ErrConflict.WithMessage("exec command " + x.ID + " is already running")
	case ended:
		return errdefs.ErrConflict.WithMessage("exec command " + x.ID + " has already run")
	}
	x.state = starting
	return nil
}

func (x *command) started(pid int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.state == starting {
		x.state, x.pid = running, pid
		close(x.begun)
	}
}

// end records the exit code; the first one counts.
func (x *command) end(code int) (first bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.state == ended {
		return false
	}
	if x.state != running {
		close(x.begun)
	}
	x.state, x.code, x.endedAt = ended, &code, time.Now()
	close(x.ended)
	return true
}

// commands are all commands by ID.
type commands struct {
	mu    sync.Mutex
	byID  map[string]*command
	swept time.Time
}

func newCommands() *commands { return &commands{byID: map[string]*command{}} }

// add takes in a command, and now and then drops those that ended long ago.
func (cs *commands) add(x *command) {
	x.begun, x.ended = make(chan struct{}), make(chan struct{})
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.byID[x.ID] = x
	if time.Since(cs.swept) < sweepEvery {
		return
	}
	cs.swept = time.Now()
	for id, old := range cs.byID {
		old.mu.Lock()
		stale := old.state == ended && time.Since(old.endedAt) > commandKept
		old.mu.Unlock()
		if stale {
			delete(cs.byID, id)
		}
	}
}

// drop forgets a command that nobody will ask about.
func (cs *commands) drop(x *command) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.byID, x.ID)
}

func (cs *commands) get(id string) (*command, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	x := cs.byID[id]
	if x == nil {
		return nil, errdefs.ErrNotFound.WithMessage("No such exec instance: " + id)
	}
	return x, nil
}

// of are the commands of a container.
func (cs *commands) of(containerID string) []*command {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	var out []*command
	for _, x := range cs.byID {
		if x.ContainerID == containerID {
			out = append(out, x)
		}
	}
	return out
}

// containerEnded ends the commands that ran in a container: they were killed with it.
func (cs *commands) containerEnded(containerID string) {
	for _, x := range cs.of(containerID) {
		x.mu.Lock()
		alive := x.state == running
		x.mu.Unlock()
		if alive {
			x.end(137)
		}
	}
}

// forget drops the commands of a container that is removed, except those whose clients still want the exit code.
func (cs *commands) forget(containerID string) {
	for _, x := range cs.of(containerID) {
		x.mu.Lock()
		unused := x.state == prepared
		x.mu.Unlock()
		if unused {
			cs.drop(x)
		}
	}
}

// execIDs are the commands of a container that have not ended, as inspect lists them; nil if there are none.
func (e *Engine) execIDs(containerID string) []string {
	var ids []string
	for _, x := range e.commands.of(containerID) {
		x.mu.Lock()
		if x.state != ended {
			ids = append(ids, x.ID)
		}
		x.mu.Unlock()
	}
	slices.Sort(ids)
	return ids
}
