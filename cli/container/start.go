package container

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
)

// starting is what start is called with besides containers.
type starting struct {
	attach, interactive       bool
	keys                      string
	checkpoint, checkpointDir string
}

func Start(a *command.App) *cobra.Command {
	var s starting
	cmd := simple(a, "start", "[OPTIONS] ", "Start one or more stopped containers", nil)
	cmd.RunE = a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
		if err := experimentalFlags(ctx, daemon, cmd.Flags(), "checkpoint", "checkpoint-dir"); err != nil {
			return err
		}
		switch {
		case s.attach || s.interactive:
			if len(args) > 1 {
				return errors.New("you cannot start and attach multiple containers at once")
			}
			return startAttached(ctx, a, daemon, args[0], s)
		case s.checkpoint != "":
			if len(args) > 1 {
				return errors.New("you cannot restore multiple containers at once")
			}
			return daemon.ContainerRestore(ctx, args[0], s.checkpoint, s.checkpointDir)
		}
		return startAll(ctx, a, daemon, args)
	})
	fs := cmd.Flags()
	fs.BoolVarP(&s.attach, "attach", "a", false, "Attach STDOUT and STDERR and forward signals")
	fs.StringVar(&s.checkpoint, "checkpoint", "", "Restore from this checkpoint")
	checkpointFolder(fs, &s.checkpointDir)
	fs.StringVar(&s.keys, "detach-keys", "", "Keys that detach from the container")
	fs.BoolVarP(&s.interactive, "interactive", "i", false, "Attach the container's STDIN")
	return cmd
}

// startAll starts containers and leaves them to themselves.
func startAll(ctx context.Context, a *command.App, daemon *client.Client, names []string) error {
	var failed []string
	for _, id := range names {
		if err := daemon.ContainerStart(ctx, id); err != nil {
			fmt.Fprintln(a.Err, err)
			failed = append(failed, id)
			continue
		}
		fmt.Fprintln(a.Out, id)
	}
	if len(failed) > 0 {
		return fmt.Errorf("Error: failed to start containers: %s", strings.Join(failed, ", ")) //nolint:staticcheck // docker's words
	}
	return nil
}

// startAttached starts a container and stays with it until it ends.
func startAttached(ctx context.Context, a *command.App, daemon *client.Client, name string, s starting) error {
	keyNames, keys, err := a.DetachKeys(s.keys)
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
	err = runAttached(ctx, a, daemon, attached{
		id: info.ID, tty: info.Config.Tty, stdin: s.interactive && info.Config.OpenStdin, stdout: true, stderr: true,
		keyNames: keyNames, keys: keys, proxy: !info.Config.Tty, autoRemove: info.HostConfig.AutoRemove,
		checkpoint: s.checkpoint, checkpointDir: s.checkpointDir,
	})
	var status *command.StatusError
	if errors.As(err, &status) && status.Cause != nil {
		return status.Cause // only run says what its help is called
	}
	return err
}
