package volume

import (
	"context"
	"errors"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Prune(a *command.App) *cobra.Command {
	var all bool
	return a.PruneCommand("Remove unused local volumes", &all, "Remove all unused volumes, not just anonymous ones", func() command.Pruning { return Pruning(all) })
}

// Pruning tells how volumes are pruned, here and by "system prune".
func Pruning(all bool) command.Pruning {
	warning := "anonymous local volumes not used by at least one container"
	if all {
		warning = "all local volumes not used by at least one container"
	}
	return command.Pruning{
		What: "volume", Warning: warning, Sizes: true,
		Do: func(ctx context.Context, daemon *client.Client, f api.Filters) (string, uint64, error) {
			if all {
				if f.Has("all") {
					return "", 0, errors.New("conflicting options: cannot specify both --all and --filter all=1")
				}
				f = command.WithFilter(f, "all", "true")
			}
			report, err := daemon.VolumesPrune(ctx, f)
			return command.Listing("Deleted Volumes:", report.VolumesDeleted), report.SpaceReclaimed, err
		},
	}
}
