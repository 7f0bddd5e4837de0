package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
)

// parallel is how many containers are dealt with at once.
const parallel = 50

// overAll does the same with every container, several at once, prints the names of those it worked for in the order
// given, and joins the errors of the others. An error that skip accepts is passed over.
func (a *app) overAll(names []string, do func(name string) error, skip func(error) bool) error {
	results := make([]chan error, len(names))
	room := make(chan struct{}, parallel)
	for i, name := range names {
		results[i] = make(chan error, 1)
		go func() {
			room <- struct{}{}
			results[i] <- do(name)
			<-room
		}()
	}
	var errs []error
	for i, name := range names {
		switch err := <-results[i]; {
		case err == nil:
			fmt.Fprintln(a.out, name)
		case skip == nil || !skip(err):
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// simple makes a command that does one thing with every container named.
func (a *app) simple(name, options, short string, do func(ctx context.Context, daemon *client.Client, id string) error) *cobra.Command {
	return &cobra.Command{
		Use:               name + " " + options + "CONTAINER [CONTAINER...]",
		Short:             short,
		Args:              atLeast(1),
		Annotations:       aliases("container "+name, name),
		ValidArgsFunction: a.completeContainers,
		RunE: a.call(func(ctx context.Context, daemon *client.Client, args []string) error {
			return a.overAll(args, func(id string) error { return do(ctx, daemon, id) }, nil)
		}),
	}
}

func (a *app) containerStop() *cobra.Command {
	return a.stopping("stop", "Stop one or more running containers", (*client.Client).ContainerStop)
}

func (a *app) containerRestart() *cobra.Command {
	return a.stopping("restart", "Restart one or more containers", (*client.Client).ContainerRestart)
}

func (a *app) stopping(name, short string, do func(*client.Client, context.Context, string, client.StopOptions) error) *cobra.Command {
	var o client.StopOptions
	var timeout int
	cmd := a.simple(name, "[OPTIONS] ", short, func(ctx context.Context, daemon *client.Client, id string) error {
		return do(daemon, ctx, id, o)
	})
	fs := cmd.Flags()
	fs.StringVarP(&o.Signal, "signal", "s", "", "Signal to send to the container")
	fs.IntVarP(&timeout, "timeout", "t", 0, "Seconds to wait before killing the container")
	fs.IntVar(&timeout, "time", 0, "Seconds to wait before killing the container")
	fs.Lookup("time").Hidden = true
	cmd.PreRunE = func(*cobra.Command, []string) error {
		switch {
		case fs.Changed("time") && fs.Changed("timeout"):
			return errors.New("conflicting options: cannot specify both --timeout and --time")
		case fs.Changed("time"):
			fmt.Fprintln(a.err, "Flag --time has been deprecated, use --timeout instead")
		}
		if fs.Changed("time") || fs.Changed("timeout") {
			o.Timeout = &timeout
		}
		return nil
	}
	return cmd
}

func (a *app) containerKill() *cobra.Command {
	var signal string
	cmd := a.simple("kill", "[OPTIONS] ", "Kill one or more running containers", func(ctx context.Context, daemon *client.Client, id string) error {
		return daemon.ContainerKill(ctx, id, signal)
	})
	cmd.Flags().StringVarP(&signal, "signal", "s", "", "Signal to send to the container")
	return cmd
}

func (a *app) containerPause() *cobra.Command {
	return a.simple("pause", "", "Pause all processes within one or more containers", func(ctx context.Context, daemon *client.Client, id string) error {
		return daemon.ContainerPause(ctx, id)
	})
}

func (a *app) containerUnpause() *cobra.Command {
	return a.simple("unpause", "", "Unpause all processes within one or more containers", func(ctx context.Context, daemon *client.Client, id string) error {
		return daemon.ContainerUnpause(ctx, id)
	})
}

func (a *app) containerRm() *cobra.Command {
	var o client.RemoveOptions
	cmd := a.simple("rm", "[OPTIONS] ", "Remove one or more containers", nil)
	cmd.Aliases = []string{"remove"}
	cmd.Annotations = aliases("container rm", "container remove", "rm")
	cmd.RunE = a.call(func(ctx context.Context, daemon *client.Client, args []string) error {
		remove := func(name string) error {
			id := strings.Trim(name, "/")
			if id == "" {
				return errors.New("container name cannot be empty")
			}
			return daemon.ContainerRemove(ctx, id, o)
		}
		return a.overAll(args, remove, func(err error) bool {
			gone := o.Force && errdefs.IsNotFound(err)
			if gone {
				fmt.Fprintln(a.err, err)
			}
			return gone
		})
	})
	fs := cmd.Flags()
	fs.BoolVarP(&o.Force, "force", "f", false, "Force the removal of a running container (uses SIGKILL)")
	fs.BoolVarP(&o.Link, "link", "l", false, "Remove the specified link")
	fs.BoolVarP(&o.Volumes, "volumes", "v", false, "Remove anonymous volumes associated with the container")
	return cmd
}

func (a *app) containerRename() *cobra.Command {
	return &cobra.Command{
		Use:               "rename CONTAINER NEW_NAME",
		Short:             "Rename a container",
		Args:              exactly(2),
		Annotations:       aliases("container rename", "rename"),
		ValidArgsFunction: a.completeContainers,
		RunE: a.call(func(ctx context.Context, daemon *client.Client, args []string) error {
			from, to := strings.TrimSpace(args[0]), strings.TrimSpace(args[1])
			if from == "" || to == "" {
				return errors.New("Error: Neither old nor new names may be empty") //nolint:staticcheck // docker's words
			}
			if err := daemon.ContainerRename(ctx, from, to); err != nil {
				return fmt.Errorf("%w\nError: failed to rename container named %s", err, from)
			}
			return nil
		}),
	}
}

func (a *app) containerWait() *cobra.Command {
	cmd := a.simple("wait", "", "Block until one or more containers stop, then print their exit codes", nil)
	cmd.RunE = a.call(func(ctx context.Context, daemon *client.Client, args []string) error {
		var errs []error
		for _, id := range args {
			code, err := waitFor(ctx, daemon, id)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			fmt.Fprintln(a.out, code)
		}
		return errors.Join(errs...)
	})
	return cmd
}

func waitFor(ctx context.Context, daemon *client.Client, id string) (int64, error) {
	wait, err := daemon.ContainerWait(ctx, id, "")
	if err != nil {
		return 0, err
	}
	result, err := wait.Result()
	if err == nil && result.Error != nil {
		err = errors.New(result.Error.Message)
	}
	return result.StatusCode, err
}

func (a *app) containerStart() *cobra.Command {
	var attach, interactive bool
	var keys, checkpoint, checkpointDir string
	cmd := a.simple("start", "[OPTIONS] ", "Start one or more stopped containers", nil)
	cmd.RunE = a.call(func(ctx context.Context, daemon *client.Client, args []string) error {
		if checkpoint != "" || checkpointDir != "" {
			return errors.New("checkpoints are not supported yet")
		}
		if attach || interactive {
			if len(args) > 1 {
				return errors.New("you cannot start and attach multiple containers at once")
			}
			return a.startAttached(ctx, daemon, args[0], interactive, keys)
		}
		var failed []string
		for _, id := range args {
			if err := daemon.ContainerStart(ctx, id); err != nil {
				fmt.Fprintln(a.err, err)
				failed = append(failed, id)
				continue
			}
			fmt.Fprintln(a.out, id)
		}
		if len(failed) > 0 {
			return fmt.Errorf("Error: failed to start containers: %s", strings.Join(failed, ", ")) //nolint:staticcheck // docker's words
		}
		return nil
	})
	fs := cmd.Flags()
	fs.BoolVarP(&attach, "attach", "a", false, "Attach STDOUT and STDERR and forward signals")
	fs.StringVar(&checkpoint, "checkpoint", "", "Restore from this checkpoint")
	fs.StringVar(&checkpointDir, "checkpoint-dir", "", "Use a custom checkpoint storage directory")
	fs.Lookup("checkpoint").Hidden, fs.Lookup("checkpoint-dir").Hidden = true, true
	fs.StringVar(&keys, "detach-keys", "", "Keys that detach from the container")
	fs.BoolVarP(&interactive, "interactive", "i", false, "Attach the container's STDIN")
	return cmd
}

// startAttached starts a container and stays with it until it ends.
func (a *app) startAttached(ctx context.Context, daemon *client.Client, name string, interactive bool, flag string) error {
	keyNames, keys, err := a.detachKeys(flag)
	if err != nil {
		return err
	}
	info, _, err := daemon.ContainerInspect(ctx, name, false)
	if err != nil {
		return err
	}
	if info.Config == nil || info.HostConfig == nil {
		info.Config, info.HostConfig = &container.Config{}, &container.HostConfig{}
	}
	err = a.runAttached(ctx, daemon, attached{
		id: info.ID, tty: info.Config.Tty, stdin: interactive && info.Config.OpenStdin, stdout: true, stderr: true,
		keyNames: keyNames, keys: keys, proxy: !info.Config.Tty, autoRemove: info.HostConfig.AutoRemove,
	})
	var status *statusError
	if errors.As(err, &status) && status.cause != nil {
		return status.cause // only run says what its help is called
	}
	return err
}
