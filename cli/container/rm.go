package container

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Rm(a *command.App) *cobra.Command {
	var o client.RemoveOptions
	cmd := simple(a, "rm", "[OPTIONS] ", "Remove one or more containers", nil)
	cmd.Aliases = []string{"remove"}
	cmd.Annotations = command.Aliases("container rm", "container remove", "rm")
	cmd.RunE = a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
		remove := func(name string) error {
			id := strings.Trim(name, "/")
			if id == "" {
				return errors.New("container name cannot be empty")
			}
			return daemon.ContainerRemove(ctx, id, o)
		}
		return overAll(a, args, remove, func(err error) bool {
			gone := o.Force && errdefs.IsNotFound(err)
			if gone {
				fmt.Fprintln(a.Err, err)
			}
			return gone
		})
	})
	fs := cmd.Flags()
	fs.BoolVarP(&o.Force, "force", "f", false, "Force the removal of a running container (uses SIGKILL)")
	fs.BoolVarP(&o.Link, "link", "l", false, "Remove the specified link")
	fs.BoolVarP(&o.Volumes, "volumes", "v", false, "Remove anonymous volumes associated with the container")
	return cmd
}
