package shim

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// StepsMain is the life of the supervisor of builds' steps: cmd/cove-runtime calls it for the verb steps. It returns the
// exit status when the daemon is gone and every step has ended.
func StepsMain() int {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-998"), 0) // as in Main
	sys.SetProcessTitle("cove-steps", "")
	socket, err := sys.NewSocket(daemonFD)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cove-runtime steps is started by the daemon only:", err)
		return 1
	}
	done := make(chan struct{})
	go func() { serveSteps(&wire{Socket: socket}); close(done) }() // not on the first thread, as in Main
	<-done
	return 0
}

// serveSteps takes steps until the daemon hangs up; the steps' own connections end with it.
func serveSteps(daemon *wire) {
	warm()
	tidy := newTidy()
	var steps sync.WaitGroup
	for {
		h, body, file, err := daemon.receive()
		if err != nil {
			break
		}
		var a adoption
		if h.Op != opStep || file == nil || json.Unmarshal(body, &a) != nil {
			closeFile(file)
			continue
		}
		steps.Go(func() {
			defer tidy.soon()
			serveStep(a, file)
		})
	}
	steps.Wait()
}

func serveStep(a adoption, file *os.File) {
	fd, err := sys.Borrow(file).Duplicate()
	closeFile(file)
	if err != nil {
		return
	}
	line, err := sys.NewSocket(int(fd))
	if err != nil {
		return
	}
	s := &stepper{dir: a.Dir, line: &wire{Socket: line}, files: map[string]*os.File{}, procs: map[string]stepProcess{}}
	defer line.Close()
	s.converse()
}

// stepper is one step in the supervisor.
type stepper struct {
	dir  string
	line *wire

	mu        sync.Mutex
	files     map[string]*os.File // lent by the daemon, and consoles
	container *runtime.Container
	procs     map[string]stepProcess
	watching  sync.WaitGroup
}

// stepProcess is one of its processes.
type stepProcess interface {
	Kill(sig syscall.Signal) error
	Resize(width, height uint16) error
	Wait() (runtime.ExitStatus, error)
	Console() *os.File
}

// converse does what the daemon asks for until it hangs up, and then ends the step.
func (s *stepper) converse() {
	for {
		h, body, file, err := s.line.receive()
		if err != nil {
			break
		}
		if h.Op == opKeep {
			err = s.keep(body, file)
			if err != nil {
				break
			}
			continue
		}
		closeFile(file)
		result, err := s.perform(h.Op, body)
		console, _ := result.(*os.File)
		if console != nil {
			result = nil
		}
		if s.line.send(head{ID: h.ID, Error: toWire(err)}, result, console) != nil || h.Op == opDelete {
			break
		}
	}
	s.destroy()
	s.watching.Wait()
	_ = os.RemoveAll(s.dir)
}

func (s *stepper) keep(body []byte, file *os.File) error {
	var name string
	if err := json.Unmarshal(body, &name); err != nil || file == nil {
		closeFile(file)
		return errFrame
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = file
	return nil
}

// take gives a file that was lent, which is the caller's from then on.
func (s *stepper) take(name string) *os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[name]
	delete(s.files, name)
	return f
}

func (s *stepper) perform(op string, body []byte) (any, error) {
	switch op {
	case opCreate:
		return with(body, func(cfg StepConfig) (any, error) { return s.create(cfg) })
	case opExec:
		return with(body, func(e execution) (any, error) {
			if e.Config == nil {
				return nil, errFrame
			}
			return nil, s.exec(e.ID, *e.Config)
		})
	case opKill:
		return with(body, func(k killing) (any, error) {
			p, err := s.find(k.Proc)
			if err != nil {
				return nil, err
			}
			return nil, p.Kill(syscall.Signal(k.Signal))
		})
	case opResize:
		return with(body, func(r resizing) (any, error) {
			p, err := s.find(r.Proc)
			if err != nil {
				return nil, err
			}
			return nil, p.Resize(r.Width, r.Height)
		})
	case opKept:
		return with(body, func(name string) (any, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if f := s.files[name]; f != nil {
				return f, nil
			}
			return nil, fmt.Errorf("file %q of a step: %w", name, errdefs.ErrNotFound)
		})
	case opDelete:
		s.destroy()
		return nil, nil
	}
	return nil, errdefs.ErrNotImplemented.WithMessage("supervisor of steps does not know how to " + op)
}

func (s *stepper) find(id string) (stepProcess, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.procs[id]
	if !ok {
		return nil, errdefs.ErrNotFound.WithMessage("no such process: " + id)
	}
	return p, nil
}

// create makes the container and starts its process.
func (s *stepper) create(cfg StepConfig) (any, error) {
	if s.container != nil || cfg.Spec == nil {
		return nil, errFrame
	}
	c := runtime.Config{
		ID: cfg.ID, Spec: cfg.Spec, User: cfg.User, SeccompCache: cfg.SeccompCache,
		Tree: s.take(fileTree), NetNS: s.take(fileNetNS), UserNS: s.take(fileUserNS), Sources: map[string]*os.File{},
	}
	defer closeFile(c.Tree)
	defer closeFile(c.NetNS)
	defer closeFile(c.UserNS)
	s.mu.Lock()
	for name, f := range s.files {
		if source, ok := strings.CutPrefix(name, fileSource); ok {
			c.Sources[source] = f
			delete(s.files, name)
			defer closeFile(f)
		}
	}
	s.mu.Unlock()
	rio, done := s.streams("", cfg.Terminal, cfg.Width, cfg.Height)
	defer done()
	container, err := runtime.Create(c, rio)
	if err != nil {
		return nil, err
	}
	_ = writeJSON(s.dir, stateName, state{os.Getpid(), container.Pid(), container.Cgroup().Path()}) // helps only if this process is killed
	s.mu.Lock()
	s.container = container
	s.adopt("", container)
	s.mu.Unlock()
	if err := container.Start(); err != nil {
		return nil, err
	}
	s.watching.Go(func() { s.watch(container) })
	return status{Supervisor: os.Getpid(), Pid: container.Pid(), Started: true, Stubs: container.Stubs()}, nil
}

// streams are a process's standard streams, which done lets go of.
func (s *stepper) streams(proc string, terminal bool, width, height uint16) (rio runtime.IO, done func()) {
	in, out, err := s.take(fileStream(proc, 0)), s.take(fileStream(proc, 1)), s.take(fileStream(proc, 2))
	return runtime.IO{Stdin: in, Stdout: out, Stderr: err, Terminal: terminal, Width: width, Height: height}, func() {
		closeFile(in)
		closeFile(out)
		closeFile(err)
	}
}

// adopt takes a process in; the lock is held.
func (s *stepper) adopt(id string, p stepProcess) {
	s.procs[id] = p
	if console := p.Console(); console != nil {
		name := fileConsole
		if id != "" {
			name += ":" + id
		}
		s.files[name] = console
	}
}

func (s *stepper) exec(id string, cfg ExecConfig) error {
	s.mu.Lock()
	c := s.container
	_, taken := s.procs[id]
	s.mu.Unlock()
	if c == nil || taken {
		return errNotRunning
	}
	rio, done := s.streams(id, cfg.Terminal, cfg.Width, cfg.Height)
	defer done()
	p, err := c.Exec(cfg.Process, cfg.User, cfg.Groups, rio)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.adopt(id, p)
	s.mu.Unlock()
	if err := p.Start(); err != nil {
		return err
	}
	s.watching.Go(func() { s.announce(id, p) })
	return nil
}

// watch sees the step to its end, and tells of it when nothing of it is left.
func (s *stepper) watch(c *runtime.Container) {
	exit := collect(c)
	kills, err := c.Cgroup().OOMKills()
	exit.OOMKilled = err == nil && kills > 0
	if err := c.Destroy(); err != nil {
		exit.Error = err.Error()
	}
	_ = s.line.send(head{Op: opExit}, ending{"", exit}, nil) // a daemon that is gone does not ask
}

func (s *stepper) announce(id string, p *runtime.Process) {
	exit := collect(p)
	_ = s.line.send(head{Op: opExit}, ending{id, exit}, nil)
}

// destroy kills the step and lets go of everything.
func (s *stepper) destroy() {
	s.mu.Lock()
	c, files := s.container, s.files
	s.files = map[string]*os.File{}
	s.mu.Unlock()
	for _, f := range files {
		closeFile(f)
	}
	if c == nil {
		return
	}
	for range destroyTries {
		if c.Destroy() == nil {
			return
		}
		time.Sleep(destroyPause)
	}
}

// A cgroup whose last process is still on its way out cannot be removed for a moment.
const (
	destroyTries = 20
	destroyPause = 50 * time.Millisecond
)
