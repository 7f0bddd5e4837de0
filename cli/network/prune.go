package network

import (
	"context"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Prune(a *command.App) *cobra.Command {
	return a.PruneCommand("Remove all unused networks", nil, "", Pruning)
}

// Pruning tells how networks are pruned, here and by "system prune".
func Pruning() command.Pruning {
	return command.Pruning{
		What: "network", Warning: "all custom networks not used by at least one container",
		Do: func(ctx context.Context, daemon *client.Client, f api.Filters) (string, uint64, error) {
			report, err := daemon.NetworksPrune(ctx, f)
			return command.Listing("Deleted Networks:", report.NetworksDeleted), 0, err
		},
	}
}
