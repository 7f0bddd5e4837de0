// Package network has the commands that deal with networks. A function with a command's name builds that command.
package network

import (
	"github.com/cove-containers/cove/cli/command"
	"github.com/spf13/cobra"
)

// Group builds "network" with all that stands below it.
func Group(a *command.App) *cobra.Command {
	return command.Group("network", "Manage networks", Connect(a), Create(a), Disconnect(a), Inspect(a), Ls(a), Prune(a), Rm(a))
}
