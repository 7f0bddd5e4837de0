package engine

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/shim"
	"github.com/cove-containers/cove/spec"
)

// ExecCreate prepares a command in a running container and gives its ID.
func (e *Engine) ExecCreate(ctx context.Context, ref string, request ct.ExecCreateRequest) (string, error) {
	c, err := e.containers.Get(ref)
	if err != nil {
		return "", err
	}
	if err := canExec(c); err != nil {
		return "", err
	}
	if err := plan.CheckExec(request); err != nil {
		return "", err
	}
	x := &command{ID: newID(), ContainerID: c.ID, Request: request}
	e.commands.add(x)
	e.event(c, et.Action("exec_create: "+strings.Join(request.Cmd, " ")), "execID", x.ID)
	return x.ID, nil
}

func canExec(c *container.Container) error {
	switch {
	case c.State.Status == ct.StatePaused:
		return errdefs.ErrConflict.WithMessage("Container " + c.ID + " is paused, unpause the container before exec")
	case c.State.Status == ct.StateRestarting:
		return errdefs.ErrConflict.WithMessage("Container " + c.ID + " is restarting, wait until the container is running")
	case c.State.Status != ct.StateRunning:
		return notRunning(c.ID)
	}
	return nil
}

// ExecStartOptions says how a prepared command is run.
type ExecStartOptions struct {
	// Detach returns once the command runs; Open is not called.
	Detach bool
	// Tty must be what the command was created with.
	Tty bool
	// ConsoleSize is height and width of the terminal.
	ConsoleSize *[2]uint
	Open        Opener
}

// ExecStart runs a prepared command and, unless detached, returns when its output has been delivered. A command
// that cannot be run is told over the connection once that is open, as an error before.
func (e *Engine) ExecStart(ctx context.Context, execID string, o ExecStartOptions) error {
	x, err := e.commands.get(execID)
	if err != nil {
		return err
	}
	c, err := e.containers.Get(x.ContainerID)
	if err != nil {
		return err
	}
	if err := canExec(c); err != nil {
		return err
	}
	r := e.runs.live(c.ID)
	if r == nil {
		return notRunning(c.ID)
	}
	if err := x.start(); err != nil {
		return err
	}
	if o.Detach {
		return e.runCommand(context.WithoutCancel(ctx), c, r, x, o.ConsoleSize, nil)
	}
	conn, err := o.Open(x.Request.Tty)
	if err != nil {
		x.end(126)
		return err
	}
	defer conn.Close()
	var stream Conn
	err = e.runCommand(context.WithoutCancel(ctx), c, r, x, o.ConsoleSize, &stream)
	if err != nil {
		return tellExecFailure(conn, x, err)
	}
	e.attachCommand(ctx, c, x, conn, stream)
	return nil
}

// runCommand is the recipe of a command: prepare, attach if a stream is wanted, load the program, watch it.
func (e *Engine) runCommand(ctx context.Context, c *container.Container, r *run, x *command, size *[2]uint, stream *Conn) (err error) {
	defer func() {
		if err != nil {
			var code int
			if code, err = plan.StartFailure(err); code != 127 {
				code = 126
			}
			x.end(code)
		}
	}()
	config, err := e.commandConfig(c, r, x, size)
	if err != nil {
		return err
	}
	e.event(c, et.Action("exec_start: "+strings.Join(x.Request.Cmd, " ")), "execID", x.ID)
	if err := r.sup.Exec(ctx, x.ID, config); err != nil {
		return err
	}
	if stream != nil {
		o := shim.AttachOptions{Stdin: x.Request.AttachStdin, Stdout: x.Request.AttachStdout, Stderr: x.Request.AttachStderr}
		if *stream, err = r.sup.Attach(ctx, x.ID, o); err != nil {
			r.sup.ExecDelete(ctx, x.ID)
			return err
		}
	}
	pid, err := r.sup.ExecStart(ctx, x.ID)
	if err != nil {
		if stream != nil {
			(*stream).Close()
		}
		r.sup.ExecDelete(ctx, x.ID)
		return r.lost(c.ID, err)
	}
	x.started(pid)
	e.work.Go(func() { e.watchCommand(e.closing, c, r.sup, x) })
	return nil
}

// attachCommand carries the streams of a command. The exit code is known before the client sees the end.
func (e *Engine) attachCommand(ctx context.Context, c *container.Container, x *command, conn, stream Conn) {
	var keys []byte
	if x.Request.Tty {
		keys, _ = plan.DetachKeys(x.Request.DetachKeys)
	}
	if pump(ctx, lateClose{conn, x.ended}, stream, x.Request.AttachStdin, keys, func() {}) {
		e.event(c, et.ActionExecDetach, "execID", x.ID)
	}
}

// lateClose is a client's connection whose end is told only when the exit code is known, for clients ask at once.
type lateClose struct {
	Conn
	ended <-chan struct{}
}

// CloseWrite waits for the command's end.
func (l lateClose) CloseWrite() error {
	<-l.ended
	return l.Conn.CloseWrite()
}

// watchCommand records a command's exit code.
func (e *Engine) watchCommand(ctx context.Context, c *container.Container, sup supervisor, x *command) {
	exit, err := sup.ExecWait(ctx, x.ID)
	if err != nil && ctx.Err() != nil {
		return
	}
	if err != nil {
		exit.Code = 137
	}
	x.end(exit.Code)
	e.event(c, et.ActionExecDie, "execID", x.ID, "exitCode", strconv.Itoa(exit.Code))
	sup.ExecDelete(ctx, x.ID)
}

// commandConfig is what the supervisor must know of a command: the container's own process with what the request
// changes.
func (e *Engine) commandConfig(c *container.Container, r *run, x *command, size *[2]uint) (shim.ExecConfig, error) {
	q := x.Request
	process, err := e.processOf(c, r)
	if err != nil {
		return shim.ExecConfig{}, err
	}
	process.Args, process.Terminal = q.Cmd, q.Tty
	process.Env = spec.Override(spec.Environment(c.Config.Hostname, q.Tty, slices.Concat(e.etc.LinkedEnv(c), c.Config.Env)), q.Env)
	if q.WorkingDir != "" {
		process.Cwd = q.WorkingDir
	}
	if q.Privileged {
		caps, err := spec.Capabilities(nil, nil, true)
		if err != nil {
			return shim.ExecConfig{}, err
		}
		process.Capabilities, process.ApparmorProfile = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}, spec.Unconfined
	}
	config := shim.ExecConfig{Process: process, User: q.User, Groups: c.HostConfig.GroupAdd, Stdin: q.AttachStdin, Terminal: q.Tty}
	if config.User == "" {
		config.User = userOf(c)
	}
	if q.ConsoleSize != nil {
		size = q.ConsoleSize
	}
	if size != nil {
		config.Height, config.Width = uint16(size[0]), uint16(size[1])
	}
	config.Note, err = x.note()
	return config, err
}

// processOf is a copy of the container's process; a daemon that did not start the container works it out anew, from its
// settings alone: what it mounts or shares may be gone by now.
func (e *Engine) processOf(c *container.Container, r *run) (specs.Process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		doc, err := spec.Document(e.settings(c))
		if err != nil {
			return specs.Process{}, err
		}
		r.process = doc.Process
	}
	return *r.process, nil
}

// tellExecFailure writes why a command could not be run where its output would have been.
func tellExecFailure(conn Conn, x *command, err error) error {
	text := []byte(err.Error() + "\r\n")
	if x.Request.Tty {
		_, err = conn.Write(text)
	} else {
		err = writeFrame(conn, false, text)
	}
	return errors.Join(err, conn.CloseWrite())
}

// ExecResize sets the size of the command's terminal. Clients ask as soon as they have asked for the start: it waits for that.
func (e *Engine) ExecResize(ctx context.Context, execID string, height, width uint) error {
	x, err := e.commands.get(execID)
	if err != nil {
		return err
	}
	r := e.runs.live(x.ContainerID)
	if r == nil {
		return notRunning(x.ContainerID)
	}
	select {
	case <-x.begun:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(beginTime):
		return errdefs.ErrInternal.WithMessage("timeout waiting for exec session ready")
	}
	select {
	case <-x.ended:
		return errdefs.ErrInvalidArgument.WithMessage("exec process is not started")
	default:
	}
	return r.sup.Resize(ctx, x.ID, uint16(width), uint16(height))
}

// ExecInspect tells how a command is set up and how it fares.
func (e *Engine) ExecInspect(ctx context.Context, execID string) (ct.ExecInspectResponse, error) {
	x, err := e.commands.get(execID)
	if err != nil {
		return ct.ExecInspectResponse{}, err
	}
	keys := []byte{} // those that were asked for
	if x.Request.DetachKeys != "" {
		keys, _ = plan.DetachKeys(x.Request.DetachKeys)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	q := x.Request
	return ct.ExecInspectResponse{
		ID: x.ID, ContainerID: x.ContainerID, Running: x.state == running, ExitCode: x.code, Pid: x.pid,
		OpenStdin: q.AttachStdin, OpenStdout: q.AttachStdout, OpenStderr: q.AttachStderr, DetachKeys: keys,
		ProcessConfig: &ct.ExecProcessConfig{
			Tty: q.Tty, Entrypoint: q.Cmd[0], Arguments: q.Cmd[1:], Privileged: &q.Privileged, User: q.User,
		},
	}, nil
}
