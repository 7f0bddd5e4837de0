package container

import (
	"context"
	"errors"
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Wait(a *command.App) *cobra.Command {
	cmd := simple(a, "wait", "", "Block until one or more containers stop, then print their exit codes", nil)
	cmd.RunE = a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
		var errs []error
		for _, id := range args {
			code, err := waitFor(ctx, daemon, id)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			fmt.Fprintln(a.Out, code)
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
