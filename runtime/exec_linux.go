package runtime

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/rootfs"
	"github.com/cove-containers/cove/sys"
)

// joinable are the namespaces a further process enters by its thread. Time and users are left: see birth.join. So are control
// groups: with nsdelegate, as systemd mounts them, nobody is cloned from outside of a namespace's groups into one by a thread inside.
const joinable = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWPID

// execution is a further process of a container in the making.
type execution struct {
	container *Container
	io        IO
	user      string
	groups    []string
	undo      undo
	before    func(step string) error

	pipes   *pipes
	birth   birth
	program program
	process *Process
}

// Exec makes another process inside; it waits for Process.Start. user and groups are looked up as in Config.
func (c *Container) Exec(p specs.Process, user string, groups []string, io IO) (*Process, error) {
	return c.exec(p, user, groups, io, c.filter, noInjection)
}

func (c *Container) exec(p specs.Process, user string, groups []string, io IO, f filter, before func(step string) error) (*Process, error) {
	e := &execution{container: c, io: io, user: user, groups: groups, before: before, process: &Process{}}
	e.birth.process, e.birth.filter, e.birth.personality, e.birth.users = p, f, c.personality, c.users
	err := e.run([]step{
		{"check", e.check},
		{"open streams", e.openStreams},
		{"enter the cgroup", e.enterCgroup},
		{"clone", func() error { return sys.OnOwnThread(func() error { return e.run(e.inside()) }) }},
		{"adjust the process", e.adjust},
		{"await readiness", func() error { return e.program.listen(int(e.pipes.report.Fd()), markWaiting, -1) }},
		{"set limits", e.setLimits},
	})
	if err == nil {
		e.birth.lendStderr(e.pipes)
	}
	e.birth.close()
	if err != nil {
		e.undo.run()
		return nil, asStartError(err)
	}
	return e.process, nil
}

// inside lists what happens on a thread that is in the container already.
func (e *execution) inside() []step {
	return []step{
		{"join namespaces", e.join},
		{"make the terminal", e.makeTerminal},
		{"prepare the process", e.prepare},
		{"clone the process", e.clone},
	}
}

func (e *execution) run(steps []step) error {
	for _, s := range steps {
		err := e.before(s.name)
		if err == nil {
			err = s.do()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *execution) check() error {
	if len(e.birth.process.Args) == 0 {
		return errdefs.ErrInvalidArgument.WithMessage("no command specified")
	}
	if e.birth.process.SelinuxLabel != "" {
		return errdefs.ErrNotImplemented.WithMessage("SELinux labels are not supported")
	}
	if frozen, err := e.container.cgroup.Frozen(); err == nil && frozen {
		return errdefs.ErrFailedPrecondition.WithMessage("cannot exec in a paused container")
	}
	return nil
}

func (e *execution) openStreams() error {
	var err error
	if e.pipes, err = openPipes(); err != nil {
		return err
	}
	e.undo.push(e.pipes.Close)
	e.birth.report, e.birth.start = e.pipes.childReport, e.pipes.childStart
	if err := e.birth.openConfinement(); err != nil {
		return err
	}
	if e.io.Terminal {
		e.birth.terminal = true
		return nil
	}
	e.birth.stdio, err = duplicate(e.io, 0)
	return err
}

func (e *execution) enterCgroup() error {
	var err error
	if e.birth.entry, err = e.container.cgroup.EntryBeside(e.container.pid); err != nil {
		return err
	}
	e.birth.join = e.container.join | unix.CLONE_NEWCGROUP
	err = e.container.control(func(fd int) error {
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err == nil {
			e.birth.joinOf = sys.FD(copied).File("pidfd")
		}
		return err
	})
	return orStopped(err)
}

// orStopped is err, said as it is meant where the container has ended.
func orStopped(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return errdefs.ErrFailedPrecondition.WithMessage("cannot exec in a stopped container")
	}
	return err
}

// join moves the thread into the container.
func (e *execution) join() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leave shared root: %w", err)
	}
	var root *os.File
	if !e.container.ownMounts {
		var err error
		if root, err = os.OpenFile("/proc/"+strconv.Itoa(e.container.pid)+"/root", unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
			return fmt.Errorf("open root: %w", err)
		}
		defer root.Close()
	}
	err := e.container.control(func(fd int) error { return unix.Setns(fd, joinable) })
	if err = orStopped(err); err != nil {
		return fmt.Errorf("join namespaces: %w", err)
	}
	if root != nil {
		if err := errors.Join(unix.Fchdir(int(root.Fd())), unix.Chroot(".")); err != nil {
			return fmt.Errorf("enter root: %w", err)
		}
	}
	if owner := ownerOf(e.container.users); owner != nil {
		return sys.ActAs(owner.UID, owner.GID)
	}
	return nil
}

// setLimits sets what the process cannot in a user namespace of its own.
func (e *execution) setLimits() error {
	if e.birth.users == nil {
		return nil
	}
	return e.birth.setLimits(e.process.pid)
}

func (e *execution) makeTerminal() error {
	if !e.io.Terminal {
		return nil
	}
	root, err := openRootDir()
	if err != nil {
		return err
	}
	defer root.Close()
	master, slave, err := rootfs.OpenTerminal(root)
	if err != nil {
		return err
	}
	e.process.console = master
	e.undo.push(func() { master.Close() })
	return e.birth.useTerminal(master, slave, e.io)
}

func openRootDir() (*os.File, error) { return os.OpenFile("/", unix.O_PATH|unix.O_DIRECTORY, 0) }

func (e *execution) prepare() error {
	root, err := openRootDir()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := e.birth.prepare(root, e.user, e.groups); err != nil {
		return err
	}
	e.birth.prologue(&e.program)
	return e.birth.epilogue(&e.program)
}

func (e *execution) clone() error {
	into := -1
	if e.birth.entry.Dir != nil {
		into = int(e.birth.entry.Dir.Fd())
	}
	pid, pidfd, err := clone(&e.program, 0, into)
	if err != nil {
		return err
	}
	e.pipes.closeChild()
	e.process.born(pid, pidfd, &e.program, e.pipes, e.birth.process.Args[0], e.birth.path)
	e.undo.push(func() {
		discard(e.process.end())
	})
	return nil
}

func (e *execution) adjust() error {
	return setOOMScore(e.process.pid, e.birth.process.OOMScoreAdj)
}

// setOOMScore sets what the process cannot set itself: the runtime's own readiness to be killed is not inherited.
// A process that has ended meanwhile has told why.
func setOOMScore(pid int, adjust *int) error {
	score := 0
	if adjust != nil {
		score = *adjust
	}
	err := os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(strconv.Itoa(score)), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("set oom_score_adj: %w", err)
	}
	return nil
}
