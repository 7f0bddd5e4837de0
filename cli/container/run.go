package container

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/cli/terminal"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
)

// running is what run asks for besides creating.
type running struct {
	creation
	detach, sigProxy bool
	detachKeys       string
}

func Run(a *command.App) *cobra.Command {
	r := &running{}
	cmd := &cobra.Command{
		Use:               "run [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short:             "Create and run a new container from an image",
		Args:              command.AtLeast(1),
		Annotations:       command.Aliases("container run", "run"),
		ValidArgsFunction: a.CompleteImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			daemon, settings, err := build(a, cmd.Flags(), &r.creation, args)
			if err != nil {
				return command.WithHelp(err, "run", 125)
			}
			return run(cmd.Context(), a, daemon, r, settings)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&r.detach, "detach", "d", false, "Run the container in the background and print its ID")
	fs.BoolVar(&r.sigProxy, "sig-proxy", true, "Pass signals on to the process")
	fs.StringVar(&r.detachKeys, "detach-keys", "", "Keys that detach from the container")
	r.addFlags(fs)
	return cmd
}

// run creates a container, starts it and, unless it is to run by itself, stays with it until it ends.
func run(ctx context.Context, a *command.App, daemon *client.Client, r *running, s opts.Settings) error {
	if !r.detach {
		if err := a.CheckInput(s.Config.AttachStdin, s.Config.Tty); err != nil {
			return err
		}
	} else {
		if r.settings.Attached() {
			return errors.New("conflicting options: cannot specify both --attach and --detach")
		}
		s.Config.AttachStdin, s.Config.AttachStdout, s.Config.AttachStderr, s.Config.StdinOnce = false, false, false, false
	}
	keyNames, keys, err := a.DetachKeys(r.detachKeys)
	if err != nil {
		return err
	}
	id, err := create(ctx, a, daemon, &r.creation, s)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return startError(err)
	}
	c := s.Config
	if !c.AttachStdin && !c.AttachStdout && !c.AttachStderr {
		fmt.Fprintln(a.Out, id)
		if err := daemon.ContainerStart(context.WithoutCancel(ctx), id); err != nil {
			return startError(err)
		}
		return nil
	}
	return runAttached(ctx, a, daemon, attached{
		id: id, tty: c.Tty, stdin: c.AttachStdin, stdout: c.AttachStdout, stderr: c.AttachStderr,
		keyNames: keyNames, keys: keys, proxy: r.sigProxy, autoRemove: s.HostConfig.AutoRemove, created: true,
	})
}

// attached is a container that is about to be started and stayed with.
type attached struct {
	id                         string
	tty, stdin, stdout, stderr bool
	keyNames                   string
	keys                       []byte
	proxy, autoRemove          bool
	created                    bool // by us just now: what cannot be started because of a signal is taken away again
	checkpoint, checkpointDir  string
}

// runAttached attaches, starts and waits. Until the start is asked for, a signal calls everything off; from then on
// signals are the container's, or with proxy off end this program and leave the container running.
func runAttached(ctx context.Context, a *command.App, daemon *client.Client, t attached) error {
	started := make(chan struct{})
	background := context.WithoutCancel(ctx)
	if t.proxy {
		stop := terminal.ForwardSignals(started, func(name string) { _ = daemon.ContainerKill(background, t.id, name) })
		defer stop()
	}
	s, wait, err := register(background, a, daemon, t)
	if err != nil {
		return err
	}
	defer s.Close()
	defer wait.Close()
	if ctx.Err() != nil {
		if t.created {
			_ = daemon.ContainerRemove(background, t.id, client.RemoveOptions{Force: true, Volumes: true})
		}
		return ctx.Err()
	}
	if err := a.Prepare(s); err != nil {
		return err
	}
	if err := daemon.ContainerRestore(background, t.id, t.checkpoint, t.checkpointDir); err != nil {
		s.Close()
		if t.autoRemove {
			_, _ = wait.Result()
		}
		return startError(err)
	}
	close(started)
	stop := a.FollowSize(t.tty, func(h, w uint) error { return daemon.ContainerResize(background, t.id, h, w) })
	defer stop()
	life := background
	if !t.proxy {
		life = ctx
	}
	return stay(life, a, s, wait)
}

// register attaches to the container and notes the wish to know its end, both at once.
func register(ctx context.Context, a *command.App, daemon *client.Client, t attached) (*terminal.Session, *client.Wait, error) {
	condition := container.WaitConditionNextExit
	if t.autoRemove {
		condition = container.WaitConditionRemoved
	}
	type registered struct {
		wait *client.Wait
		err  error
	}
	waiting := make(chan registered, 1)
	go func() {
		w, err := daemon.ContainerWait(ctx, t.id, condition)
		waiting <- registered{w, err}
	}()
	stream, err := daemon.ContainerAttach(ctx, t.id, client.AttachOptions{
		Stdin: t.stdin, Stdout: t.stdout, Stderr: t.stderr, DetachKeys: t.keyNames,
	})
	w := <-waiting
	if err == nil {
		err = w.err
	}
	if err != nil {
		if w.wait != nil {
			w.wait.Close()
		}
		if stream != nil {
			stream.Close()
		}
		return nil, nil, err
	}
	return a.Session(stream, t.tty, t.keys, t.stdin, t.stdout, t.stderr), w.wait, nil
}

// stay carries the streams until all output has come and the container has ended, and gives its exit code. The end of
// life ends it too.
func stay(life context.Context, a *command.App, s *terminal.Session, wait *client.Wait) error {
	ctx, cancel := context.WithCancel(life)
	defer cancel()
	type end struct {
		result container.WaitResponse
		err    error
	}
	ended := make(chan end, 1)
	go func() {
		result, err := wait.Result()
		ended <- end{result, err}
		if s.Stdout == nil && s.Stderr == nil {
			cancel() // only input is attached, and nobody reads it any more
		}
	}()
	err := s.Run(ctx)
	switch {
	case errors.Is(err, terminal.ErrDetached):
		return nil
	case err != nil && (s.Stdout != nil || s.Stderr != nil):
		return err
	}
	select {
	case e := <-ended:
		return waitError(a, e.result, e.err)
	case <-life.Done():
		return life.Err()
	}
}

// waitError turns the answer to a wait into this program's exit code.
func waitError(a *command.App, result container.WaitResponse, err error) error {
	switch {
	case err != nil:
		fmt.Fprintln(a.Err, "error waiting for container:", err)
		return command.Exit(125)
	case result.Error != nil:
		fmt.Fprintln(a.Err, "Error waiting for container:", result.Error.Message)
		return command.Exit(125)
	}
	return command.Exit(int(result.StatusCode))
}

// startError gives an error its exit code: 127 for a command that is not there, 126 for one that cannot be
// executed, 125 for all else.
func startError(err error) error {
	if command.IsConnect(err) {
		return command.WithHelp(err, "run", 125)
	}
	text := err.Error()
	for _, missing := range []string{"executable file not found", "no such file or directory", "system cannot find the file specified"} {
		if strings.Contains(text, missing) {
			return command.WithHelp(err, "run", 127)
		}
	}
	for _, refused := range []string{"permission denied", "is a directory"} {
		if strings.Contains(text, refused) {
			return command.WithHelp(err, "run", 126)
		}
	}
	return command.WithHelp(err, "run", 125)
}
