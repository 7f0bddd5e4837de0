package image

import (
	"github.com/cove-containers/cove/cli/command"
	"github.com/spf13/cobra"
)

// Builder builds "builder" with all that stands below it.
func Builder(a *command.App) *cobra.Command {
	return command.Group("builder", "Manage the build cache", Build(a), BuilderDu(a), BuilderPrune(a))
}

// Buildx builds "buildx", by which name scripts know the same commands.
func Buildx(a *command.App) *cobra.Command {
	build := Build(a)
	build.Aliases = []string{"b"}
	return command.Group("buildx", "Manage the build cache", build, BuilderDu(a), BuilderPrune(a))
}
