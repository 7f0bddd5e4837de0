// Package volume has the commands that deal with volumes. A function with a command's name builds that command.
package volume

import (
	"github.com/cove-containers/cove/cli/command"
	"github.com/spf13/cobra"
)

// Group builds "volume" with all that stands below it.
func Group(a *command.App) *cobra.Command {
	return command.Group("volume", "Manage volumes", Create(a), Inspect(a), Ls(a), Prune(a), Rm(a))
}
