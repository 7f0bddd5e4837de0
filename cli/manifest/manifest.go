// Package manifest has the commands that look at manifests in registries and make lists of them. They speak to
// registries themselves, without a daemon; lists in the making lie in the configuration folder, where docker's command
// line finds them too. A function with a command's name builds that command.
package manifest

import (
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/ref"
	"github.com/spf13/cobra"
)

// Group builds "manifest" with all that stands below it.
func Group(a *command.App) *cobra.Command {
	return command.Group("manifest", "Manage image manifests and manifest lists", Annotate(a), Create(a), Inspect(a), Push(a), Rm(a))
}

// parse reads a name; one without tag and digest is tagged latest.
func parse(text string) (ref.Name, error) {
	name, err := ref.Parse(text)
	return name.WithDefaultTag(), err
}

// absent is the error of a manifest that is nowhere, with the first word as docker spells it in each place.
func absent(first string, name ref.Name) error {
	return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("%s such manifest: %s", first, name))
}

// complete offers the lists in the making.
func complete(a *command.App) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && cmd.Name() != "rm" {
			return nil, command.Nothing
		}
		return lists(a).names(), command.Nothing
	}
}
