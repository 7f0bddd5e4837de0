package shim

import (
	"context"
	"errors"
	"os"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/runtime"
)

// Create makes the container up to the moment before its program is loaded. Errors of the program or the user carry
// *runtime.StartError and errdefs kinds as the runtime gives them.
func (s *Shim) Create(ctx context.Context, cfg Config) (pid int, err error) {
	var netns *os.File
	netns, cfg.NetNS = cfg.NetNS, nil
	var st status
	if err := s.request(ctx, opCreate, cfg, netns, &st); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pid = st.Pid
	return st.Pid, nil
}

// Start loads the program.
func (s *Shim) Start(ctx context.Context) error {
	if err := s.request(ctx, opStart, nil, nil, nil); err != nil {
		return err
	}
	if s.running != nil {
		s.running()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = true
	return nil
}

// Checkpoint keeps the state of the running container on disk. Where it fails, the container goes on.
func (s *Shim) Checkpoint(ctx context.Context, o runtime.CheckpointOptions) error {
	return s.request(ctx, opCheckpoint, o, nil, nil)
}

// Pid is that of the container's first process, 0 before Create.
func (s *Shim) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

// Started tells whether the program was loaded: a reconnecting daemon removes what never got that far.
func (s *Shim) Started() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// Done is closed when the container has ended and its Exit is known.
func (s *Shim) Done() <-chan struct{} { return s.main.done }

// Wait gives the container's Exit. By then its log is complete.
func (s *Shim) Wait(ctx context.Context) (Exit, error) { return s.wait(ctx, s.main) }

// Kill signals the container's first process, or with all every process in it. errdefs.ErrNotFound: it has ended.
func (s *Shim) Kill(ctx context.Context, signal int, all bool) error {
	return s.kill(ctx, killing{Signal: signal, All: all})
}

// kill takes a supervisor that has ended for what it means: its processes have ended, or listen ends them now.
func (s *Shim) kill(ctx context.Context, k killing) error {
	err := s.request(ctx, opKill, k, nil, nil)
	if !errors.Is(err, errdefs.ErrUnavailable) {
		return err
	}
	select {
	case <-s.lost:
		return errdefs.ErrNotFound.WithMessage("process is not running")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Resize sets the terminal's size; proc is empty for the container itself, else an exec id.
func (s *Shim) Resize(ctx context.Context, proc string, width, height uint16) error {
	return s.request(ctx, opResize, resizing{proc, width, height}, nil, nil)
}

// Exec prepares a process, so that clients can attach before ExecStart.
func (s *Shim) Exec(ctx context.Context, execID string, cfg ExecConfig) error {
	if err := s.request(ctx, opExec, execution{execID, &cfg}, nil, nil); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exec(execID)
	return nil
}

// ExecStart runs a prepared process.
func (s *Shim) ExecStart(ctx context.Context, execID string) (pid int, err error) {
	err = s.request(ctx, opExecStart, execution{ID: execID}, nil, &pid)
	return pid, err
}

// ExecWait gives the exit of an exec process, also one that could not be started.
func (s *Shim) ExecWait(ctx context.Context, execID string) (Exit, error) {
	s.mu.Lock()
	r := s.execs[execID]
	s.mu.Unlock()
	if r == nil {
		return Exit{}, noExec(execID)
	}
	return s.wait(ctx, r)
}

// ExecKill ends an exec process and whatever it has started.
func (s *Shim) ExecKill(ctx context.Context, execID string) error {
	return s.kill(ctx, killing{Proc: execID, Signal: int(sigkill), Tree: true})
}

// ExecDelete forgets an exec that has ended or was never started.
func (s *Shim) ExecDelete(ctx context.Context, execID string) error {
	if err := s.request(ctx, opExecDelete, execution{ID: execID}, nil, nil); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.execs, execID)
	return nil
}

// Execs lists the exec processes known, also those that have ended and were not deleted.
func (s *Shim) Execs(ctx context.Context) ([]ExecState, error) {
	if s.wire == nil {
		var end record
		err := readJSON(s.dir, exitName, &end)
		return end.Execs, err
	}
	var st status
	err := s.request(ctx, opHello, nil, nil, &st)
	return st.Execs, err
}
