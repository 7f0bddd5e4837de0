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

func Start(a *command.App) *cobra.Command {
	var attach, interactive bool
	var keys, checkpoint, checkpointDir string
	cmd := simple(a, "start", "[OPTIONS] ", "Start one or more stopped containers", nil)
	cmd.RunE = a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
		if checkpoint != "" || checkpointDir != "" {
			return errors.New("checkpoints are not supported yet")
		}
		if attach || interactive {
			if len(args) > 1 {
				return errors.New("you cannot start and attach multiple containers at once")
			}
			return startAttached(ctx, a, daemon, args[0], interactive, keys)
		}
		var failed []string
		for _, id := range args {
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
func startAttached(ctx context.Context, a *command.App, daemon *client.Client, name string, interactive bool, flag string) error {
	keyNames, keys, err := a.DetachKeys(flag)
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
		id: info.ID, tty: info.Config.Tty, stdin: interactive && info.Config.OpenStdin, stdout: true, stderr: true,
		keyNames: keyNames, keys: keys, proxy: !info.Config.Tty, autoRemove: info.HostConfig.AutoRemove,
	})
	var status *command.StatusError
	if errors.As(err, &status) && status.Cause != nil {
		return status.Cause // only run says what its help is called
	}
	return err
}
