package container

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/checkpoint"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Checkpoint builds "checkpoint" with all that stands below it.
func Checkpoint(a *command.App) *cobra.Command {
	return command.Group("checkpoint", "Manage checkpoints", checkpointCreate(a), checkpointLs(a), checkpointRm(a))
}

// experimental refuses what, a command or a flag, at a daemon that says that it does not have it.
func experimental(ctx context.Context, daemon *client.Client, what string) error {
	pong, err := daemon.Ping(ctx)
	if err == nil && !pong.Experimental {
		err = fmt.Errorf("%s is only supported on a Docker daemon with experimental features enabled", what)
	}
	return err
}

// experimentalFlags refuses those of these flags that were given, at such a daemon.
func experimentalFlags(ctx context.Context, daemon *client.Client, fs *pflag.FlagSet, names ...string) error {
	var errs []error
	for _, name := range names {
		if fs.Changed(name) {
			errs = append(errs, experimental(ctx, daemon, strconv.Quote("--"+name)))
		}
	}
	return errors.Join(errs...)
}

// withCheckpoints makes a command of what it does with a daemon that has checkpoints.
func withCheckpoints(a *command.App, do func(ctx context.Context, daemon *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if err := experimental(ctx, daemon, cmd.CommandPath()); err != nil {
				return err
			}
			return do(ctx, daemon, args)
		})(cmd, args)
	}
}

func checkpointFolder(fs *pflag.FlagSet, dir *string) {
	fs.StringVar(dir, "checkpoint-dir", "", "Use a custom checkpoint storage directory")
}

func checkpointCreate(a *command.App) *cobra.Command {
	var request checkpoint.CreateRequest
	var running bool
	cmd := &cobra.Command{
		Use:               "create [OPTIONS] CONTAINER CHECKPOINT",
		Short:             "Create a checkpoint from a running container",
		Args:              command.Exactly(2),
		ValidArgsFunction: a.CompleteContainers,
		RunE: withCheckpoints(a, func(ctx context.Context, daemon *client.Client, args []string) error {
			request.CheckpointID, request.Exit = args[1], !running
			if err := daemon.CheckpointCreate(ctx, args[0], request); err != nil {
				return err
			}
			fmt.Fprintln(a.Out, request.CheckpointID)
			return nil
		}),
	}
	checkpointFolder(cmd.Flags(), &request.CheckpointDir)
	cmd.Flags().BoolVar(&running, "leave-running", false, "Leave the container running after checkpoint")
	return cmd
}

func checkpointLs(a *command.App) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:               "ls [OPTIONS] CONTAINER",
		Short:             "List checkpoints for a container",
		Aliases:           []string{"list"},
		Args:              command.Exactly(1),
		Annotations:       command.Aliases("checkpoint ls", "checkpoint list"),
		ValidArgsFunction: a.CompleteContainers,
		RunE: withCheckpoints(a, func(ctx context.Context, daemon *client.Client, args []string) error {
			list, err := daemon.CheckpointList(ctx, args[0], dir)
			if err != nil {
				return err
			}
			return format.Write(a.Out, "", format.Table{Fields: []string{"Name"}, Headers: map[string]string{"Name": "CHECKPOINT NAME"}}, list)
		}),
	}
	checkpointFolder(cmd.Flags(), &dir)
	return cmd
}

func checkpointRm(a *command.App) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:               "rm [OPTIONS] CONTAINER CHECKPOINT",
		Short:             "Remove a checkpoint",
		Aliases:           []string{"remove"},
		Args:              command.Exactly(2),
		Annotations:       command.Aliases("checkpoint rm", "checkpoint remove"),
		ValidArgsFunction: a.CompleteContainers,
		RunE: withCheckpoints(a, func(ctx context.Context, daemon *client.Client, args []string) error {
			return daemon.CheckpointRemove(ctx, args[0], args[1], dir)
		}),
	}
	checkpointFolder(cmd.Flags(), &dir)
	return cmd
}
