package container

import (
	"context"
	"errors"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
)

// execution is what exec asks for.
type execution struct {
	request       container.ExecCreateRequest
	env, envFiles []string
	interactive   bool
	detach        bool
	keys          string
}

func Exec(a *command.App) *cobra.Command {
	e := &execution{}
	cmd := &cobra.Command{
		Use:               "exec [OPTIONS] CONTAINER COMMAND [ARG...]",
		Short:             "Execute a command in a running container",
		Args:              command.AtLeast(2),
		Annotations:       command.Aliases("container exec", "exec"),
		ValidArgsFunction: a.CompleteContainers,
		RunE: func(cmd *cobra.Command, args []string) error {
			e.request.Cmd = args[1:]
			return exec(cmd.Context(), a, args[0], e)
		},
	}
	fs := cmd.Flags()
	fs.SetInterspersed(false)
	fs.BoolVarP(&e.detach, "detach", "d", false, "Detached mode: run command in the background")
	fs.StringVar(&e.keys, "detach-keys", "", "Keys that detach from the command")
	opts.List(fs, &e.env, "env", "e", "Set environment variables", opts.Env)
	opts.List(fs, &e.envFiles, "env-file", "", "Read environment variables from a file", nil)
	fs.BoolVarP(&e.interactive, "interactive", "i", false, "Keep STDIN open even if not attached")
	fs.BoolVar(&e.request.Privileged, "privileged", false, "Give extended privileges to the command")
	fs.BoolVarP(&e.request.Tty, "tty", "t", false, "Allocate a pseudo-TTY")
	fs.StringVarP(&e.request.User, "user", "u", "", `Username or UID (format: "<name|uid>[:<group|gid>]")`)
	fs.StringVarP(&e.request.WorkingDir, "workdir", "w", "", "Working directory inside the container")
	return cmd
}

func exec(ctx context.Context, a *command.App, name string, e *execution) error {
	keyNames, keys, err := a.DetachKeys(e.keys)
	if err != nil {
		return err
	}
	r := &e.request
	if r.Env, err = opts.EnvFiles(e.envFiles, e.env); err != nil {
		return err
	}
	r.DetachKeys = keyNames
	if !e.detach {
		r.AttachStdin, r.AttachStdout, r.AttachStderr = e.interactive, true, true
		if err := a.CheckInput(e.interactive, r.Tty); err != nil {
			return err
		}
	}
	if h, w := a.Size(); r.Tty && (h != 0 || w != 0) {
		r.ConsoleSize = &[2]uint{h, w}
	}
	daemon, err := a.Client()
	if err != nil {
		return err
	}
	id, err := daemon.ExecCreate(ctx, name, *r)
	if err != nil {
		return err
	}
	if id == "" {
		return errors.New("exec ID empty")
	}
	start := container.ExecStartRequest{Detach: e.detach, Tty: r.Tty, ConsoleSize: r.ConsoleSize}
	if e.detach {
		return daemon.ExecStart(ctx, id, start)
	}
	return execAttached(ctx, a, daemon, id, start, e, keys)
}

// execAttached starts a prepared command, stays with it and ends with its exit code.
func execAttached(ctx context.Context, a *command.App, daemon *client.Client, id string, start container.ExecStartRequest, e *execution, keys []byte) error {
	stream, err := daemon.ExecAttach(ctx, id, start)
	if err != nil {
		return execError(err)
	}
	s := a.Session(stream, e.request.Tty, keys, e.interactive, true, true)
	defer s.Close()
	if err := a.Prepare(s); err != nil {
		return err
	}
	stop := a.FollowSize(s.TTY, func(h, w uint) error { return daemon.ExecResize(context.WithoutCancel(ctx), id, h, w) })
	defer stop()
	if err := s.Run(ctx); err != nil {
		return err
	}
	info, err := daemon.ExecInspect(ctx, id)
	var away *client.ConnectError
	switch {
	case errors.As(err, &away):
		return command.Exit(255) // the daemon has gone, and the code with it
	case err != nil:
		return err
	case info.ExitCode == nil:
		return nil
	}
	return command.Exit(*info.ExitCode)
}

// execError gives a command that could not be started the exit code that a shell would give it.
func execError(err error) error {
	var status *command.StatusError
	if errors.As(startError(err), &status) && status.Code != 125 {
		return &command.StatusError{Code: status.Code, Text: err.Error(), Cause: err}
	}
	return err
}
