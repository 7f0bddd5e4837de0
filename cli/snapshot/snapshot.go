// Package snapshot has the commands that deal with snapshots of containers. A function with a command's name builds that
// command.
package snapshot

import (
	"context"
	"fmt"
	"time"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// Group builds "snapshot" with all that stands below it.
func Group(a *command.App) *cobra.Command {
	return command.Group("snapshot", "Manage snapshots of containers", Create(a), Diff(a), Ls(a), Rm(a), Rollback(a))
}

func Create(a *command.App) *cobra.Command {
	var r api.SnapshotCreateRequest
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] CONTAINER [NAME]",
		Short: "Keep the files of a container as they are now",
		Long: `Keep the files of a container as they are now, to come back to them later. A container that does not run has them
frozen where they are, however much there is; one that runs is paused while they are copied. Volumes, and whatever
else is mounted, are no part of a snapshot. Snapshots go when their container is removed.`,
		Args:              command.Between(1, 2),
		ValidArgsFunction: a.CompleteContainers,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if len(args) > 1 {
				r.Name = args[1]
			}
			made, err := daemon.SnapshotCreate(ctx, args[0], r)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.Out, made.ID)
			return nil
		}),
	}
	cmd.Flags().StringVarP(&r.Comment, "message", "m", "", "Say what the snapshot is for")
	return cmd
}

func Ls(a *command.App) *cobra.Command {
	var layout string
	var quiet, noTrunc bool
	cmd := &cobra.Command{
		Use:               "ls [OPTIONS] CONTAINER",
		Short:             "List the snapshots of a container",
		Aliases:           []string{"list"},
		Args:              command.Exactly(1),
		ValidArgsFunction: a.CompleteContainers,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			list, err := daemon.SnapshotList(ctx, args[0])
			if err != nil {
				return err
			}
			rows := format.Snapshots(list, !noTrunc, time.Now())
			if quiet && layout == "" {
				return format.Lines(a.Out, "ID", rows)
			}
			return format.Write(a.Out, layout, format.SnapshotTable(), rows)
		}),
	}
	fs := cmd.Flags()
	fs.StringVar(&layout, "format", "", command.FormatUsage)
	fs.BoolVarP(&quiet, "quiet", "q", false, "Only display snapshot IDs")
	fs.BoolVar(&noTrunc, "no-trunc", false, "Don't truncate output")
	return cmd
}

func Rm(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:     "rm CONTAINER SNAPSHOT [SNAPSHOT...]",
		Short:   "Remove snapshots of a container",
		Aliases: []string{"remove"},
		Long: `Remove snapshots of a container. Later snapshots, the container and its clones stand on earlier ones: what they need
stays on disk until they are gone too.`,
		Args:              command.AtLeast(2),
		ValidArgsFunction: complete(a, 0),
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			return a.Each(args[1:], func(snapshot string) error { return daemon.SnapshotRemove(ctx, args[0], snapshot) })
		}),
	}
}

func Rollback(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:   "rollback CONTAINER SNAPSHOT",
		Short: "Give a stopped container the files of a snapshot",
		Long: `Give a container that does not run the files that it had when a snapshot was made. What it has changed since is gone,
unless another snapshot has it. Volumes, and whatever else is mounted, stay as they are.`,
		Args:              command.Exactly(2),
		ValidArgsFunction: complete(a, 2),
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if err := daemon.SnapshotRollback(ctx, args[0], args[1]); err != nil {
				return err
			}
			fmt.Fprintln(a.Out, args[0])
			return nil
		}),
	}
}

func Diff(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:               "diff CONTAINER SNAPSHOT [SNAPSHOT]",
		Short:             "List what has changed since a snapshot, until another one or until now",
		Args:              command.Between(2, 3),
		ValidArgsFunction: complete(a, 3),
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			until := ""
			if len(args) > 2 {
				until = args[2]
			}
			changes, err := daemon.SnapshotDiff(ctx, args[0], args[1], until)
			if err != nil {
				return err
			}
			for _, c := range changes {
				fmt.Fprintln(a.Out, c.Kind.String(), c.Path)
			}
			return nil
		}),
	}
}

// complete offers containers and then the snapshots of the one named; most is how many arguments there may be, 0 any
// number.
func complete(a *command.App, most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		daemon, err := a.Client()
		switch {
		case len(args) == 0:
			return a.CompleteContainers(cmd, args, word)
		case err != nil || most > 0 && len(args) >= most:
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list, err := daemon.SnapshotList(cmd.Context(), args[0])
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, snap := range list {
			if snap.Name != "" {
				names = append(names, snap.Name)
			} else {
				names = append(names, format.ShortID(snap.ID))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
