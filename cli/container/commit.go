package container

import (
	"context"
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/cove-containers/cove/ref"
	"github.com/spf13/cobra"
)

func Commit(a *command.App) *cobra.Command {
	var o client.CommitOptions
	var pause bool
	cmd := &cobra.Command{
		Use:               "commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
		Short:             "Create a new image from a container's changes",
		Args:              command.Between(1, 2),
		Annotations:       command.Aliases("container commit", "commit"),
		ValidArgsFunction: a.CompleteContainers,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if len(args) > 1 {
				o.Reference = args[1]
				if _, err := ref.Parse(o.Reference); o.Reference != "" && err != nil {
					return err
				}
			}
			o.NoPause = o.NoPause || !pause
			id, err := daemon.ContainerCommit(ctx, args[0], o)
			if err == nil {
				fmt.Fprintln(a.Out, id)
			}
			return err
		}),
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.Author, "author", "a", "", `Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")`)
	opts.List(fs, &o.Changes, "change", "c", "Apply this Dockerfile instruction to the created image", nil)
	fs.StringVarP(&o.Message, "message", "m", "", "Commit message")
	fs.BoolVarP(&pause, "pause", "p", true, "Pause the container during the commit")
	fs.BoolVar(&o.NoPause, "no-pause", false, "Do not pause the container during the commit")
	fs.StringVar(&o.Snapshot, "snapshot", "", "Commit this snapshot of the container instead of its present state")
	return cmd
}
