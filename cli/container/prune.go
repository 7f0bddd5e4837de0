package container

import (
	"context"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Prune(a *command.App) *cobra.Command {
	return a.PruneCommand("Remove all stopped containers", nil, "", Pruning)
}

// Pruning tells how containers are pruned, here and by "system prune".
func Pruning() command.Pruning {
	return command.Pruning{
		What: "container", Warning: "all stopped containers", Sizes: true,
		Do: func(ctx context.Context, daemon *client.Client, f api.Filters) (string, uint64, error) {
			report, err := daemon.ContainersPrune(ctx, f)
			return command.Listing("Deleted Containers:", report.ContainersDeleted), report.SpaceReclaimed, err
		},
	}
}
