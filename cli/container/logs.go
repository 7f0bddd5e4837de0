package container

import (
	"context"
	"fmt"
	"io"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/spf13/cobra"
)

func Logs(a *command.App) *cobra.Command {
	o := client.LogsOptions{Stdout: true, Stderr: true}
	var since, until string
	cmd := &cobra.Command{
		Use:               "logs [OPTIONS] CONTAINER",
		Short:             "Fetch the logs of a container",
		Args:              command.Exactly(1),
		Annotations:       command.Aliases("container logs", "logs"),
		ValidArgsFunction: a.CompleteContainers,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			info, _, err := daemon.ContainerInspect(ctx, args[0], false)
			if err != nil {
				return err
			}
			if o.Since, err = opts.Time(since); err != nil {
				return fmt.Errorf(`invalid value for "since": %w`, err)
			}
			if o.Until, err = opts.Time(until); err != nil {
				return fmt.Errorf(`invalid value for "until": %w`, err)
			}
			body, raw, err := daemon.ContainerLogs(ctx, info.ID, o)
			if err != nil {
				return err
			}
			defer body.Close()
			if raw || info.Config != nil && info.Config.Tty {
				_, err = io.Copy(a.Out, body)
			} else {
				_, err = stdcopy.StdCopy(a.Out, a.Err, body)
			}
			return err
		}),
	}
	fs := cmd.Flags()
	fs.BoolVar(&o.Details, "details", false, "Show extra details provided to logs")
	fs.BoolVarP(&o.Follow, "follow", "f", false, "Follow log output")
	fs.StringVar(&since, "since", "", `Show logs since a time (e.g. "2013-01-02T13:23:37Z") or for a while (e.g. "42m")`)
	fs.StringVarP(&o.Tail, "tail", "n", "all", "Number of lines to show from the end of the logs")
	fs.BoolVarP(&o.Timestamps, "timestamps", "t", false, "Show timestamps")
	fs.StringVar(&until, "until", "", `Show logs before a time (e.g. "2013-01-02T13:23:37Z") or before a while ago (e.g. "42m")`)
	return cmd
}
