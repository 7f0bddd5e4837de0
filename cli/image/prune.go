package image

import (
	"context"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Prune(a *command.App) *cobra.Command {
	var all bool
	return a.PruneCommand("Remove unused images", &all, "Remove all unused images, not just dangling ones", func() command.Pruning { return Pruning(all) })
}

// Pruning tells how images are pruned, here and by "system prune".
func Pruning(all bool) command.Pruning {
	warning, dangling := "all dangling images", "true"
	if all {
		warning, dangling = "all images without at least one container associated to them", "false"
	}
	return command.Pruning{
		What: "image", Warning: warning, Sizes: true,
		Do: func(ctx context.Context, daemon *client.Client, f api.Filters) (string, uint64, error) {
			report, err := daemon.ImagesPrune(ctx, command.WithFilter(f, "dangling", dangling))
			var lines []string
			for _, gone := range report.ImagesDeleted {
				if gone.Untagged != "" {
					lines = append(lines, "untagged: "+gone.Untagged)
				} else {
					lines = append(lines, "deleted: "+gone.Deleted)
				}
			}
			return command.Listing("Deleted Images:", lines), report.SpaceReclaimed, err
		},
	}
}
