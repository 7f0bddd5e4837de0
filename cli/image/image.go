// Package image has the commands that deal with images. A function with a command's name builds that command.
package image

import (
	"github.com/cove-containers/cove/cli/command"
	"github.com/spf13/cobra"
)

// Group builds "image" with all that stands below it.
func Group(a *command.App) *cobra.Command {
	return command.Group("image", "Manage images",
		Build(a), History(a), Import(a), Inspect(a), Load(a), Ls(a), Prune(a), Pull(a), Push(a), Rm(a), Save(a), Tag(a))
}
