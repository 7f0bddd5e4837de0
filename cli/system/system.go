// Package system has the commands that deal with the engine itself, and those that look at things of every kind. A function with a command's name builds that command.
package system

import (
	"github.com/cove-containers/cove/cli/command"
	"github.com/spf13/cobra"
)

// Group builds "system" with all that stands below it.
func Group(a *command.App) *cobra.Command {
	return command.Group("system", "Manage the engine", Check(a), Df(a), DialStdio(a), Events(a), Info(a), Prune(a))
}
