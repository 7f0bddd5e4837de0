package shim

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/logs"
	"github.com/cove-containers/cove/runtime"
)

// supervisor is the state of the process that watches over one container.
type supervisor struct {
	id, dir string
	make    maker
	touched func() // something was done that may have left garbage

	deeds sync.Mutex // held through create, start, destroy: they come one after another

	mu      sync.Mutex
	box     box
	log     *logs.Writer
	cfg     Config // without its Spec
	private bool   // the container has its own pid namespace
	main    *proc
	execs   []*proc
	daemons []*wire // connections that get news; when there are none, no daemon is there
	kept    map[string]*os.File

	ended     chan struct{} // closed when the container's exit is on record
	destroyed bool
	watching  sync.WaitGroup // of execs
	writers   sync.WaitGroup // of clients
	over      chan struct{}  // closed by leave
	leave     func()
}

// proc is the container's first process or an exec.
type proc struct {
	id      string
	cfg     ExecConfig
	streams *streams
	process process // nil before it is made
	pid     int
	started bool
	exit    *Exit
}

func newSupervisor(id, dir string, make_ maker, touched func()) *supervisor {
	over := make(chan struct{})
	s := &supervisor{
		id: id, dir: dir, make: make_, touched: touched,
		ended: make(chan struct{}),
		over:  over, leave: sync.OnceFunc(func() { close(over) }),
	}
	s.main = &proc{streams: newStreams(&s.writers)}
	return s
}

// find gives the first process for an empty name, else an exec.
func (s *supervisor) find(id string) (*proc, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == "" {
		return s.main, nil
	}
	for _, p := range s.execs {
		if p.id == id {
			return p, nil
		}
	}
	return nil, errdefs.ErrNotFound.WithMessage("No such exec instance: " + id)
}

// status is what a daemon needs to know that has just come.
func (s *supervisor) status() status {
	st := status{Supervisor: os.Getpid(), Pid: s.main.pid, Started: s.main.started, Exit: s.main.exit}
	for _, p := range s.execs {
		st.Execs = append(st.Execs, ExecState{ID: p.id, Pid: p.pid, Exit: p.exit, Note: p.cfg.Note})
	}
	return st
}

// create makes the container, which waits for start.
func (s *supervisor) create(cfg Config, netns *os.File) (any, error) {
	defer closeFile(netns)
	s.deeds.Lock()
	defer s.deeds.Unlock()
	if s.main.process != nil || s.destroyed || cfg.Spec == nil {
		return nil, fmt.Errorf("create container %s a second time: %w", s.id, errdefs.ErrConflict)
	}
	log, err := logs.NewWriter(cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("failed to initialize logging driver: %w", err)
	}
	rio, err := s.main.streams.prepare(settings{cfg.Stdin, cfg.StdinOnce, cfg.Terminal, cfg.Width, cfg.Height})
	if err != nil {
		_ = log.Close()
		return nil, err
	}
	cfg.NetNS, cfg.rooms, cfg.users = netns, s.rooms(), s.users()
	b, p, err := s.make(job{s.id, s.dir, cfg, rio})
	if err == nil {
		err = s.main.streams.adopt(p.Console(), cfg.Stdin)
		if err != nil {
			_ = b.Destroy()
		}
	}
	if err != nil {
		s.main.streams.abandon()
		_ = log.Close()
		return nil, err
	}
	_ = writeJSON(s.dir, stateName, state{os.Getpid(), p.Pid(), b.Cgroup()}) // helps only if this process is killed
	s.mu.Lock()
	defer s.mu.Unlock()
	s.private = ownPIDs(cfg.Spec)
	cfg.Spec, cfg.NetNS, cfg.rooms, cfg.users, cfg.Checkpoint = nil, nil, nil, nil, nil
	s.box, s.log, s.cfg = b, log, cfg
	s.main.process, s.main.pid = p, p.Pid()
	return s.status(), nil
}

// start loads the container's program.
func (s *supervisor) start() error {
	s.deeds.Lock()
	defer s.deeds.Unlock()
	p := s.main
	if p.process == nil || p.started || s.destroyed {
		return fmt.Errorf("start container %s: it is not waiting for it: %w", s.id, errdefs.ErrConflict)
	}
	if err := p.process.Start(); err != nil {
		p.streams.finish(0)
		_ = s.log.Close()
		return err
	}
	s.mu.Lock()
	p.started = true
	s.mu.Unlock()
	p.streams.start(s.log.Stream(logs.Stdout), s.log.Stream(logs.Stderr))
	go s.watch()
	return nil
}

// checkpoint keeps the container's state. Until it is done nobody destroys the container, which may end by it.
func (s *supervisor) checkpoint(o runtime.CheckpointOptions) error {
	s.deeds.Lock()
	defer s.deeds.Unlock()
	if !s.main.started || s.destroyed {
		return errdefs.ErrConflict.WithMessage("container " + s.id + " is not running")
	}
	return s.box.Checkpoint(o)
}

// watch sees the container to its end. The order is a promise: the log is complete and every exec that died with the
// container is on record before anybody hears of the exit; attached clients get their last bytes before their streams
// end.
func (s *supervisor) watch() {
	exit := collect(s.main.process)
	exit.OOMKilled = s.box.OOMKilled()
	if !s.private {
		_ = s.box.KillAll(sigkill) // whatever shares another's pid namespace does not die with its first process
	}
	s.main.streams.finish(lastWords)
	_ = s.log.Close()
	s.awaitExecs()

	s.mu.Lock()
	s.main.exit = &exit
	st := s.status()
	_ = writeJSON(s.dir, exitName, record{exit, st.Execs}) // without it the next daemon sees a killed supervisor
	close(s.ended)
	for _, p := range s.execs {
		if !p.started {
			p.streams.end() // it never will be
		}
	}
	s.mu.Unlock()
	s.announce("", exit)
	s.touched()

	s.destroy()
	s.checkAlone()
}

// awaitExecs waits, but not for ever, until the execs that ended with the container are collected.
func (s *supervisor) awaitExecs() {
	done := make(chan struct{})
	go func() { s.watching.Wait(); close(done) }()
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// collect waits for a process to end.
func collect(p process) Exit {
	status, err := p.Wait()
	exit := Exit{Code: status.Code, Signal: int(status.Signal), At: time.Now()}
	if err != nil {
		exit.Code, exit.Error = exitUnknown, err.Error()
	}
	return exit
}

// exitUnknown is docker's exit code of a process whose end nobody saw.
const exitUnknown = 255

// announce tells every daemon that a process has ended.
func (s *supervisor) announce(id string, exit Exit) {
	s.mu.Lock()
	daemons := slices.Clone(s.daemons)
	s.mu.Unlock()
	for _, w := range daemons {
		_ = w.send(head{Op: opExit}, ending{id, exit}, nil) // a daemon that is gone asks again when it is back
	}
}

// destroy removes the container, once.
func (s *supervisor) destroy() {
	s.deeds.Lock()
	defer s.deeds.Unlock()
	if s.destroyed {
		return
	}
	s.destroyed = true
	s.dropKept()
	if s.box == nil {
		s.main.streams.end()
		return
	}
	_ = s.box.Destroy()
	if !s.main.started {
		s.main.streams.finish(0)
		_ = s.log.Close()
	}
}

// remove is the request to end everything: the container, its traces, this process.
func (s *supervisor) remove() error {
	s.destroy()
	if s.main.started {
		select {
		case <-s.ended:
		case <-time.After(lastWords + time.Second):
		}
	}
	return os.RemoveAll(s.dir)
}

// checkAlone ends this process when no daemon is there and there is nothing left to watch: the container has ended, and
// the next daemon will read how; or it was never started, and must not be.
func (s *supervisor) checkAlone() {
	s.mu.Lock()
	alone, finished := len(s.daemons) == 0, s.main.exit != nil
	s.mu.Unlock()
	if !alone {
		return
	}
	if finished {
		s.destroy()
		s.leave()
		return
	}
	s.deeds.Lock() // a create or start that is under way is not cut in two
	half := !s.main.started
	s.deeds.Unlock()
	if half {
		s.destroy()
		_ = os.RemoveAll(s.dir)
		s.leave()
	}
}
