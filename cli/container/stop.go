package container

import (
	"context"
	"errors"
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Stop(a *command.App) *cobra.Command {
	return stopping(a, "stop", "Stop one or more running containers", (*client.Client).ContainerStop)
}

func Restart(a *command.App) *cobra.Command {
	return stopping(a, "restart", "Restart one or more containers", (*client.Client).ContainerRestart)
}

func stopping(a *command.App, name, short string, do func(*client.Client, context.Context, string, client.StopOptions) error) *cobra.Command {
	var o client.StopOptions
	var timeout int
	cmd := simple(a, name, "[OPTIONS] ", short, func(ctx context.Context, daemon *client.Client, id string) error {
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
			fmt.Fprintln(a.Err, "Flag --time has been deprecated, use --timeout instead")
		}
		if fs.Changed("time") || fs.Changed("timeout") {
			o.Timeout = &timeout
		}
		return nil
	}
	return cmd
}
