package contexts

import (
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/config"
	"github.com/spf13/cobra"
)

func Use(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:               "use CONTEXT",
		Short:             "Set the current context",
		Args:              command.Exactly(1),
		ValidArgsFunction: a.CompleteContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			if name != "default" {
				if _, err := a.ConfigFile().Context(name); err != nil {
					return err
				}
			}
			if err := a.ConfigFile().UseContext(name); err != nil {
				return err
			}
			fmt.Fprintln(a.Out, name)
			fmt.Fprintf(a.Err, "Current context is now %q\n", name)
			for _, variable := range []string{"COVE_HOST", "DOCKER_HOST"} {
				if name != "default" && config.FirstEnv(variable) != "" {
					fmt.Fprintf(a.Err, "Warning: %s environment variable overrides the active context. To use %q, either set the global --context flag, or unset %s environment variable.\n", variable, name, variable)
				}
			}
			return nil
		},
	}
}
