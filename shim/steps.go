package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// Steps runs the processes of builds. One supervisor process does for all of them, so that a step costs no start of a
// program but its own. It boots with the first step and ends when there has been none for a while; or when the daemon
// goes away, however that happens: then all steps are killed.
type Steps struct {
	dir, binary string

	mu     sync.Mutex
	booted *booted
	users  int
	idle   *time.Timer
	closed bool
}

// stepsPatience is how long the supervisor stays without a step.
const stepsPatience = time.Minute

// stepsEnv keeps the supervisor small, but lets steps begin at the same time: most of that is waiting for the kernel.
func stepsEnv() []string {
	return []string{"GOGC=50", "GODEBUG=containermaxprocs=0,updatemaxprocs=0"}
}

// StepConfig is a step's container. Files are the caller's, who may close them when Run has returned.
type StepConfig struct {
	ID           string
	Spec         *specs.Spec
	User         string // as Config.User
	SeccompCache string
	Terminal     bool
	Width        uint16
	Height       uint16

	// Tree is the root, a detached mount. Sources are further ones, which binds of the document name as their source.
	Tree    *os.File            `json:"-"`
	Sources map[string]*os.File `json:"-"`
	NetNS   *os.File            `json:"-"`
	// UserNS is the user namespace to live in; nil: the host's.
	UserNS *os.File `json:"-"`
	// Streams are standard input, output and error; nil is /dev/null.
	Streams [3]*os.File `json:"-"`
}

// Names under which files of a step go to its supervisor; sources have their own after a prefix.
const (
	fileTree    = "tree"
	fileNetNS   = "netns"
	fileUserNS  = "userns"
	fileConsole = "console"
	fileSource  = "source:"
)

func fileStream(proc string, n int) string { return fmt.Sprintf("%d:%s", n, proc) }

// OpenSteps takes the folder of the steps' run-time state, made if absent, and the path of the cove-runtime binary. It kills
// what steps have left running whose daemon and supervisor were both killed.
func OpenSteps(dir, runtimeBinary string) (*Steps, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("open steps: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open steps: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		left := filepath.Join(dir, e.Name())
		bury(left)
		if err := os.RemoveAll(left); err != nil {
			return nil, fmt.Errorf("open steps: %w", err)
		}
	}
	return &Steps{dir: dir, binary: runtimeBinary}, nil
}

// Close ends the supervisor, with every step.
func (s *Steps) Close() error {
	s.mu.Lock()
	b := s.booted
	s.booted, s.closed = nil, true
	if s.idle != nil {
		s.idle.Stop()
	}
	s.mu.Unlock()
	if b != nil {
		b.end()
	}
	return nil
}

// take gives the supervisor to one more step; with failed, a new one in its place.
func (s *Steps) take(failed *booted) (*booted, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("run step: %w", errdefs.ErrUnavailable)
	}
	if s.booted != nil && s.booted == failed {
		go failed.end()
		s.booted = nil
	}
	if s.booted == nil {
		b, err := boot(s.dir, s.binary, verbSteps, stepsEnv())
		if err != nil {
			return nil, err
		}
		s.booted = b
	}
	s.users++
	if s.idle != nil {
		s.idle.Stop()
	}
	return s.booted, nil
}

func (s *Steps) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users > 0 || s.closed {
		return
	}
	if s.idle == nil {
		s.idle = time.AfterFunc(stepsPatience, s.rest)
		return
	}
	s.idle.Reset(stepsPatience)
}

// rest ends a supervisor without steps.
func (s *Steps) rest() {
	s.mu.Lock()
	b := s.booted
	if s.users > 0 {
		b = nil
	}
	if b != nil {
		s.booted = nil
	}
	s.mu.Unlock()
	if b != nil {
		b.end()
	}
}

// Step is a running step.
type Step struct {
	shim *Shim
	end  func()
	// Stubs are what was made in the root to mount something on; see runtime.Container.
	Stubs []runtime.Stub
	// Console is the terminal's master of a step that has one; the caller closes it.
	Console *os.File
}

// Run makes the container of a step and starts its process. Errors of the program or the user carry *runtime.StartError.
func (s *Steps) Run(ctx context.Context, cfg StepConfig) (*Step, error) {
	dir := filepath.Join(s.dir, cfg.ID)
	if cfg.ID == "" || filepath.Dir(dir) != s.dir || cfg.ID == logName {
		return nil, errdefs.ErrInvalidArgument.WithMessage("no id of a step: " + cfg.ID)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("run step: %w", err)
	}
	line, err := s.connect(cfg.ID, dir)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	step := &Step{shim: newShim(cfg.ID, dir, line), end: sync.OnceFunc(s.leave)}
	go step.shim.listen()
	if err := step.create(ctx, cfg); err != nil {
		return nil, errors.Join(err, step.Close())
	}
	return step, nil
}

// connect gives a step its connection. A supervisor that was killed is replaced.
func (s *Steps) connect(id, dir string) (*wire, error) {
	var failed *booted
	for {
		b, err := s.take(failed)
		if err != nil {
			return nil, err
		}
		ours, theirs, err := sys.SocketPair()
		if err != nil {
			s.leave()
			return nil, err
		}
		err = b.wire.send(head{Op: opStep}, adoption{id, dir}, theirs)
		_ = theirs.Close()
		if err == nil {
			return &wire{Socket: ours}, nil
		}
		_ = ours.Close()
		s.leave()
		if failed != nil {
			return nil, fmt.Errorf("ask the supervisor of steps: %w", errors.Join(err, errdefs.ErrUnavailable))
		}
		failed = b
	}
}

func (s *Step) create(ctx context.Context, cfg StepConfig) error {
	files := map[string]*os.File{fileTree: cfg.Tree, fileNetNS: cfg.NetNS, fileUserNS: cfg.UserNS}
	for name, f := range cfg.Sources {
		files[fileSource+name] = f
	}
	if err := s.lend(files, "", cfg.Streams); err != nil {
		return err
	}
	var st status
	if err := s.shim.request(ctx, opCreate, cfg, nil, &st); err != nil {
		return err
	}
	s.Stubs = st.Stubs
	s.shim.mu.Lock()
	s.shim.pid, s.shim.started = st.Pid, true
	s.shim.mu.Unlock()
	if cfg.Terminal {
		return s.shim.request(ctx, opKept, fileConsole, nil, &s.Console)
	}
	return nil
}

// lend passes open files.
func (s *Step) lend(files map[string]*os.File, proc string, streams [3]*os.File) error {
	for n, f := range streams {
		files[fileStream(proc, n)] = f
	}
	for name, f := range files {
		if f == nil {
			continue
		}
		if err := s.shim.wire.send(head{Op: opKeep}, name, f); err != nil {
			return fmt.Errorf("pass files to the supervisor of steps: %w", errors.Join(err, errdefs.ErrUnavailable))
		}
	}
	return nil
}

// Pid is that of the step's first process.
func (s *Step) Pid() int { return s.shim.Pid() }

// Wait returns when the step has ended, and what it occupied is gone.
func (s *Step) Wait(ctx context.Context) (Exit, error) { return s.shim.wait(ctx, s.shim.main) }

// Exec starts a further process, called id, in a running step.
func (s *Step) Exec(ctx context.Context, id string, cfg ExecConfig, streams [3]*os.File) (console *os.File, err error) {
	if err := s.lend(map[string]*os.File{}, id, streams); err != nil {
		return nil, err
	}
	s.shim.mu.Lock()
	s.shim.exec(id)
	s.shim.mu.Unlock()
	if err := s.shim.request(ctx, opExec, execution{id, &cfg}, nil, nil); err != nil {
		return nil, err
	}
	if cfg.Terminal {
		err = s.shim.request(ctx, opKept, fileConsole+":"+id, nil, &console)
	}
	return console, err
}

// WaitExec returns when the process that Exec called id has ended.
func (s *Step) WaitExec(ctx context.Context, id string) (Exit, error) {
	s.shim.mu.Lock()
	r := s.shim.exec(id)
	s.shim.mu.Unlock()
	return s.shim.wait(ctx, r)
}

// Kill signals a process of the step, the first one where id is empty.
func (s *Step) Kill(ctx context.Context, id string, sig syscall.Signal) error {
	return s.shim.request(ctx, opKill, killing{Proc: id, Signal: int(sig)}, nil, nil)
}

// Resize sets the size of a process's terminal.
func (s *Step) Resize(ctx context.Context, id string, width, height uint16) error {
	return s.shim.request(ctx, opResize, resizing{id, width, height}, nil, nil)
}

// Close kills whatever is left of the step and removes what it occupied. Doing it again does nothing.
func (s *Step) Close() error {
	defer s.end()
	err := s.shim.Delete(context.Background())
	if err != nil {
		return fmt.Errorf("end step: %w", err)
	}
	return nil
}
