package image

import (
	"github.com/cove-containers/cove/cli/command"
	"github.com/spf13/cobra"
)

// buildProgram builds images: what it is made of would make every other command start slower.
const buildProgram = "cove-build"

func Build(a *command.App) *cobra.Command {
	if a.Build != nil {
		return a.Build(a)
	}
	return a.Elsewhere(buildProgram, "build [OPTIONS] PATH | URL | -", "Build an image from a Dockerfile")
}
