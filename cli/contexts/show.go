package contexts

import (
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/spf13/cobra"
)

func Show(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print the name of the current context",
		Args:  command.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintln(a.Out, a.ContextName())
			return nil
		},
	}
}
