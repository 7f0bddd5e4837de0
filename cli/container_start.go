package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
)

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
