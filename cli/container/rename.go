package container

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Rename(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:               "rename CONTAINER NEW_NAME",
		Short:             "Rename a container",
		Args:              command.Exactly(2),
		Annotations:       command.Aliases("container rename", "rename"),
		ValidArgsFunction: a.CompleteContainers,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
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
