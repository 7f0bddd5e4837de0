package runtime

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/account"
	"github.com/cove-containers/cove/sys"
)

// Process is a process of a container. It waits for Start before it becomes its program.
type Process struct {
	pid     int
	pidfd   *os.File
	console *os.File
	program *program
	pipes   *pipes
	// name is the program's name as it was asked for, path where it was found.
	name    string
	path    string
	started atomic.Bool

	// holding keeps pidfd open while it is used; gone tells that the process was reaped and pidfd closed.
	holding sync.Mutex
	gone    bool

	waited sync.Once
	status ExitStatus
	err    error
}

func (p *Process) born(pid int, pidfd *os.File, program *program, pipes *pipes, name, path string) {
	p.pid, p.pidfd, p.program, p.pipes, p.name, p.path = pid, pidfd, program, pipes, name, path
}

// Pid is the process's number on the host.
func (p *Process) Pid() int { return p.pid }

// Console is the terminal's master, or nil where the process has none. The caller closes it.
func (p *Process) Console() *os.File { return p.console }

// Start lets the process become its program and tells why that failed, as a *StartError where the program is to
// blame. A process that failed has ended. A program that is there and may be executed, but is none the kernel can
// load (it lacks its interpreter, is a script without one, or for another machine), is no failure of the start: its
// process says so on its standard error and ends with statusFailed.
func (p *Process) Start() error {
	if p.started.Swap(true) {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("process %d was started before", p.pid))
	}
	if p.program == nil {
		return nil // it was restored, and goes on
	}
	defer func() {
		p.pipes.Close()
		p.program = nil
	}()
	if err := p.pipes.let(); err != nil {
		return err
	}
	// The report ends without a word when execve, or init, closes the child's end.
	err := p.program.listen(int(p.pipes.report.Fd()), markWaiting, -1)
	if errors.Is(err, errChildGone) {
		return nil
	}
	if _, waitErr := p.Wait(); waitErr != nil {
		return errors.Join(err, waitErr)
	}
	var failed *stepError
	if errors.As(err, &failed) && failed.step == stepExec {
		if p.pipes.stderr == nil || failed.errno == unix.EACCES {
			return execError(p.name, failed.errno)
		}
		_, err := fmt.Fprintf(p.pipes.stderr, "exec %s: %s\n", p.path, failed.errno)
		if errors.Is(err, unix.EPIPE) {
			return nil
		}
		return err
	}
	return asStartError(err)
}

// statusFailed is the exit status of a process that could not become its program.
const statusFailed = 255

// Wait returns when the process has ended; every call gets the same answer. It keeps no thread waiting.
func (p *Process) Wait() (ExitStatus, error) {
	p.waited.Do(func() {
		p.status, p.err = p.reap()
		p.holding.Lock()
		defer p.holding.Unlock()
		p.gone = true
		p.pidfd.Close()
	})
	return p.status, p.err
}

func (p *Process) reap() (ExitStatus, error) {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return ExitStatus{}, fmt.Errorf("wait for process %d: %w", p.pid, err)
	}
	var ws unix.WaitStatus
	var waitErr error
	err = raw.Read(func(uintptr) bool {
		for {
			got, err := unix.Wait4(p.pid, &ws, unix.WNOHANG|unix.WALL, nil)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			waitErr = err
			return err != nil || got == p.pid
		}
	})
	if err := errors.Join(err, waitErr); err != nil {
		return ExitStatus{}, fmt.Errorf("wait for process %d: %w", p.pid, err)
	}
	if ws.Signaled() {
		return ExitStatus{Code: signalStatus + int(ws.Signal()), Signal: ws.Signal()}, nil
	}
	return ExitStatus{Code: ws.ExitStatus()}, nil
}

// signalStatus is what a shell adds to the number of the signal that ended a process.
const signalStatus = 128

// Kill sends a signal to the process. One that has ended is errdefs.ErrNotFound.
func (p *Process) Kill(sig syscall.Signal) error {
	err := p.signal(sig)
	if errors.Is(err, unix.ESRCH) {
		return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("process %d has ended", p.pid))
	}
	if err != nil {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	return nil
}

func (p *Process) signal(sig syscall.Signal) error {
	return p.control(func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
}

// control calls f with the process's descriptor, which stays non-blocking. A process that was reaped is ESRCH.
func (p *Process) control(f func(fd int) error) error {
	p.holding.Lock()
	defer p.holding.Unlock()
	if p.gone {
		return unix.ESRCH
	}
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = f(int(fd)) })
	return errors.Join(err, failed)
}

// Resize sets the terminal's size.
func (p *Process) Resize(width, height uint16) error {
	if p.console == nil {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("process %d has no terminal", p.pid))
	}
	if err := sys.SetWindowSize(p.console, width, height); err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	return nil
}

// end kills a process that shall not go on and reaps it.
func (p *Process) end() error {
	if err := p.signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.pid, err)
	}
	_, err := p.Wait()
	return err
}

// Container is one container made by this process; as a Process it is the container's first one.
type Container struct {
	Process
	cgroup *Cgroup
	// root and mounts keep the root and the mount namespace in being until Destroy: taking them down may have to
	// write a whole file system's data to disk, which the end of the last process would otherwise wait for.
	root, mounts *os.File
	stubs        []Stub
	// filter and personality are what every further process gets, too, and so are the namespaces that only a process
	// can join.
	filter      filter
	personality *specs.LinuxPersonality
	join        uintptr
	users       *account.Map
	// ownMounts tells that the root of its mount namespace is its own.
	ownMounts bool
	// own and streams are what a checkpoint must know: see checkpoint.Source.
	own     []string
	streams [3]string

	destroying sync.Mutex
	destroyed  bool
}

// Stubs are what was made in the root to mount something on, in this order. They stay; who wants the root without them
// removes them when the container is gone.
func (c *Container) Stubs() []Stub { return c.stubs }

// Cgroup is the container's control group.
func (c *Container) Cgroup() *Cgroup { return c.cgroup }

// Destroy kills what is left, removes the cgroup and lets go of the root. It is safe to call twice; after an error
// the next call tries again.
func (c *Container) Destroy() error {
	c.destroying.Lock()
	defer c.destroying.Unlock()
	if c.destroyed {
		return nil
	}
	if err := errors.Join(c.end(), c.cgroup.KillAll()); err != nil {
		return fmt.Errorf("destroy container: %w", err)
	}
	if err := c.cgroup.Remove(); err != nil {
		return fmt.Errorf("destroy container: %w", err)
	}
	c.pipes.Close()
	c.mounts.Close()
	c.root.Close()
	c.destroyed = true
	return nil
}
