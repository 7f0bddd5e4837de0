package runtime

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// InitName is the name process 1 of a container made with Config.Init goes by.
const InitName = "/sbin/docker-init"

// initSetting stands first in the environment of process 1. It keeps the Go runtime from sending SIGURG to itself,
// which would be forwarded.
const initSetting = "GODEBUG=asyncpreemptoff=1"

// readySetting comes next, with the number of the descriptor that process 1 closes once it forwards signals.
const readySetting = "COVE_INIT_READY="

// useInit makes this program process 1, from a read-only mount of its file that exists nowhere else: nothing inside
// can write to it, not even through /proc/1/exe.
func (b *birth) useInit() {
	b.process.Args = append([]string{InitName, "--"}, b.process.Args...)
	b.env = append([]string{initSetting, readySetting + strconv.Itoa(int(b.report.Fd()))}, b.env...)
}

// IsInit tells whether this program was started as process 1 of a container.
func IsInit(args []string) bool { return len(args) > 0 && args[0] == InitName }

// Init is the life of process 1 of a container made with Config.Init: it starts the program, forwards every signal
// to it, reaps what is orphaned, and ends as the program ends. It returns the exit status.
func Init(args []string) int {
	if len(args) > 1 && args[1] == "--" {
		args = args[1:]
	}
	env := os.Environ()
	ready := -1
	if len(env) > 1 && env[0] == initSetting {
		if n, err := strconv.Atoi(strings.TrimPrefix(env[1], readySetting)); err == nil {
			ready, env = n, env[1:]
		}
		env = env[1:]
	}
	if len(args) < 2 {
		fmt.Fprintln(os.Stderr, "init: no command")
		return codeNotFound
	}
	// Before there is a child, so that no signal is lost.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	if ready >= 0 {
		_ = unix.Close(ready)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "init: become subreaper:", err)
	}
	child, err := startChild(args[1:], env)
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		var failed *StartError
		if errors.As(err, &failed) && failed.Code != 0 {
			return failed.Code
		}
		return codeNotFound
	}
	for s := range signals {
		if s != unix.SIGCHLD {
			// An error means that the child has just ended, which SIGCHLD will say.
			_ = unix.Kill(child.pid, s.(syscall.Signal))
			continue
		}
		if code, over := reapAll(child.pid); over {
			return code
		}
	}
	return 0
}

// startChild starts the program in a process group of its own, which owns the terminal if there is one: a key that
// sends a signal then reaches the program once, not a second time through init.
func startChild(args, env []string) (*Process, error) {
	root, err := openRootDir()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "/"
	}
	path, err := lookPath(root, cwd, args[0], env)
	if err != nil {
		return nil, err
	}
	pipes, err := openPipes()
	if err != nil {
		return nil, err
	}
	p := &program{report: int(pipes.childReport.Fd())}
	p.wait(int(pipes.childStart.Fd()))
	p.add(stepExec, unix.SYS_EXECVE, p.text(path), p.vector(args), p.vector(env))
	pid, pidfd, err := clone(p, 0, -1)
	if err != nil {
		return nil, err
	}
	pipes.closeChild()
	child := &Process{}
	child.born(pid, pidfd, p, pipes, args[0], path)
	if err := unix.Setpgid(pid, pid); err != nil {
		return nil, fmt.Errorf("make process group: %w", err)
	}
	if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		if err := unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, pid); err != nil {
			return nil, fmt.Errorf("give terminal away: %w", err)
		}
	}
	return child, child.Start()
}

// reapAll collects every child that has ended; over tells that the program is among them, with its status.
func reapAll(program int) (code int, over bool) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || pid <= 0:
			return code, over
		case pid != program:
		case ws.Signaled():
			code, over = signalStatus+int(ws.Signal()), true
		default:
			code, over = ws.ExitStatus(), true
		}
	}
}
