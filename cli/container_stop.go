package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

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
