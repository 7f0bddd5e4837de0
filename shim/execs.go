package shim

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

const sigkill = syscall.SIGKILL

var errNotRunning = errdefs.ErrConflict.WithMessage("container is not running")

// addExec prepares a process.
func (s *supervisor) addExec(id string, cfg ExecConfig) error {
	if _, err := s.find(id); err == nil || id == "" {
		return errdefs.ErrAlreadyExists.WithMessage("exec " + id + " exists already")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.main.started || s.main.exit != nil {
		return errNotRunning
	}
	p := &proc{id: id, cfg: cfg, streams: newStreams(&s.writers)}
	p.streams.framed = !cfg.Terminal
	s.execs = append(s.execs, p)
	return nil
}

// startExec runs a prepared process.
func (s *supervisor) startExec(id string) (pid int, err error) {
	p, err := s.find(id)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	switch {
	case p.started:
		err = errdefs.ErrConflict.WithMessage("exec " + id + " was started already")
	case s.main.exit != nil:
		err = errNotRunning
		p.streams.end()
	default:
		p.started = true
		s.watching.Add(1)
	}
	b, cfg := s.box, p.cfg
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	made, err := runExec(b, p.streams, cfg)
	if err != nil {
		defer s.watching.Done()
		s.endExec(p, failedExec(err))
		return 0, err
	}
	s.mu.Lock()
	p.process, p.pid = made, made.Pid()
	s.mu.Unlock()
	go func() {
		defer s.watching.Done()
		exit := collect(made)
		p.streams.finish(lastWords)
		s.endExec(p, exit)
		s.touched()
	}()
	return made.Pid(), nil
}

// runExec makes the process and loads its program; on failure all its streams are ended.
func runExec(b box, streams *streams, cfg ExecConfig) (process, error) {
	rio, err := streams.prepare(settings{cfg.Stdin, true, cfg.Terminal, cfg.Width, cfg.Height})
	if err != nil {
		streams.end()
		return nil, err
	}
	p, err := b.Exec(cfg, rio)
	if err != nil {
		streams.abandon()
		return nil, err
	}
	if err = streams.adopt(p.Console(), cfg.Stdin); err == nil {
		err = p.Start()
	}
	if err != nil {
		_ = p.Kill(sigkill)
		_, _ = p.Wait()
		streams.finish(0)
		return nil, err
	}
	streams.start()
	return p, nil
}

// failedExec is the exit of a process that could not be started, as a shell would give it.
func failedExec(err error) Exit {
	exit := Exit{Code: 126, At: time.Now(), Error: err.Error()}
	var start *runtime.StartError
	if errors.As(err, &start) && start.Code != 0 {
		exit.Code = start.Code
	}
	return exit
}

func (s *supervisor) endExec(p *proc, exit Exit) {
	s.mu.Lock()
	p.exit = &exit
	s.mu.Unlock()
	s.announce(p.id, exit)
}

// deleteExec forgets an exec that is not running.
func (s *supervisor) deleteExec(id string) error {
	p, err := s.find(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.started && p.exit == nil {
		return errdefs.ErrConflict.WithMessage("exec " + id + " is running")
	}
	s.execs = slices.DeleteFunc(slices.Clone(s.execs), func(o *proc) bool { return o == p })
	if !p.started {
		p.streams.end()
	}
	return nil
}

// kill signals one process, or every process of the container.
func (s *supervisor) kill(k killing) error {
	p, err := s.find(k.Proc)
	if err != nil {
		return err
	}
	s.mu.Lock()
	running := p.process != nil && p.exit == nil
	b, target := s.box, p.process
	s.mu.Unlock()
	if !running {
		return errdefs.ErrNotFound.WithMessage("process is not running")
	}
	if k.All {
		if err := b.KillAll(syscall.Signal(k.Signal)); err != nil || syscall.Signal(k.Signal) != sigkill {
			return err
		}
		// Who may write to control groups, like an init system, may have left the container's.
		if err := target.Kill(sigkill); !errors.Is(err, syscall.ESRCH) && !errdefs.IsNotFound(err) {
			return err
		}
		return nil
	}
	if k.Tree {
		if err := killTree(b.Cgroup(), target.Pid()); err != nil {
			return err
		}
	}
	err = target.Kill(syscall.Signal(k.Signal))
	if errors.Is(err, syscall.ESRCH) {
		return errdefs.ErrNotFound.WithMessage("process is not running")
	}
	return err
}

// resize sets a terminal's size, also that of a terminal yet to be made.
func (s *supervisor) resize(r resizing) error {
	p, err := s.find(r.Proc)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if p.process == nil {
		p.cfg.Width, p.cfg.Height = r.Width, r.Height
	}
	p.streams.mu.Lock()
	framed, outputs := p.streams.framed, p.streams.outputs
	p.streams.mu.Unlock()
	made := p.process != nil
	s.mu.Unlock()
	if !made || framed || len(outputs) == 0 {
		return nil
	}
	return sys.SetWindowSize(outputs[0], r.Width, r.Height)
}
