package container

import (
	"context"
	"errors"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/terminal"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
)

func Attach(a *command.App) *cobra.Command {
	var noStdin, proxy bool
	var keys string
	cmd := &cobra.Command{
		Use:               "attach [OPTIONS] CONTAINER",
		Short:             "Attach local standard input, output, and error streams to a running container",
		Args:              command.Exactly(1),
		Annotations:       command.Aliases("container attach", "attach"),
		ValidArgsFunction: a.CompleteContainers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return attach(cmd.Context(), a, args[0], !noStdin, proxy, keys)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&keys, "detach-keys", "", "Keys that detach from the container")
	fs.BoolVar(&noStdin, "no-stdin", false, "Do not attach STDIN")
	fs.BoolVar(&proxy, "sig-proxy", true, "Pass signals on to the process")
	return cmd
}

func attach(ctx context.Context, a *command.App, name string, stdin, proxy bool, flag string) error {
	keyNames, keys, err := a.DetachKeys(flag)
	if err != nil {
		return err
	}
	daemon, err := a.Client()
	if err != nil {
		return err
	}
	background := context.WithoutCancel(ctx)
	info, err := attachable(ctx, daemon, name)
	if err != nil {
		return err
	}
	tty := info.Config.Tty
	if err := a.CheckInput(stdin, tty); err != nil {
		return err
	}
	wait, err := daemon.ContainerWait(background, info.ID, "")
	if err != nil {
		return err
	}
	defer wait.Close()
	if proxy && !tty {
		started := make(chan struct{})
		close(started)
		stop := terminal.ForwardSignals(started, func(signal string) { _ = daemon.ContainerKill(background, info.ID, signal) })
		defer stop()
	}
	o := client.AttachOptions{Stdin: stdin && info.Config.OpenStdin, Stdout: true, Stderr: true, DetachKeys: keyNames}
	stream, err := daemon.ContainerAttach(background, info.ID, o)
	if err != nil {
		return err
	}
	s := a.Session(stream, tty, keys, o.Stdin, true, true)
	defer s.Close()
	if err := a.Prepare(s); err != nil {
		return err
	}
	if _, err := attachable(ctx, daemon, info.ID); err != nil { // what has ended meanwhile would be waited for in vain
		return err
	}
	if tty && a.OutputIsTerminal() {
		h, w := a.Size()
		_ = daemon.ContainerResize(background, info.ID, h+1, w+1) // a change makes programs draw anew
	}
	stop := a.FollowSize(tty, func(h, w uint) error { return daemon.ContainerResize(background, info.ID, h, w) })
	defer stop()
	life := background
	if !proxy {
		life = ctx
	}
	if err := s.Run(life); err != nil {
		return err
	}
	result, err := wait.Result()
	switch {
	case err != nil:
		return err
	case result.Error != nil:
		return errors.New(result.Error.Message)
	}
	return command.Exit(int(result.StatusCode))
}

// attachable describes a container that can be attached to.
func attachable(ctx context.Context, daemon *client.Client, name string) (container.InspectResponse, error) {
	info, _, err := daemon.ContainerInspect(ctx, name, false)
	if err != nil {
		return info, err
	}
	if info.State == nil || info.Config == nil {
		return info, errors.New("the daemon does not say what state the container is in")
	}
	switch {
	case info.State.Restarting:
		return info, errors.New("You cannot attach to a restarting container, wait until it is running")
	case !info.State.Running:
		return info, errors.New("You cannot attach to a stopped container, start it first")
	case info.State.Paused:
		return info, errors.New("You cannot attach to a paused container, unpause it first")
	}
	return info, nil
}
