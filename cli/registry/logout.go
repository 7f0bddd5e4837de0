package registry

import (
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/config"
	"github.com/spf13/cobra"
)

func Logout(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:               "logout [SERVER]",
		Short:             "Log out from a registry",
		Long:              "Log out from a registry.\nIf no server is specified, Docker Hub is meant.",
		Args:              command.AtMost(1),
		ValidArgsFunction: a.CompleteRegistries,
		RunE: func(_ *cobra.Command, args []string) error {
			key := config.HubKey
			if len(args) == 1 {
				key = config.Key(args[0])
			}
			fmt.Fprintln(a.Out, "Removing login credentials for", key)
			if !a.ConfigFile().HasAuth(key) {
				return nil
			}
			if err := a.ConfigFile().EraseAuth(key); err != nil {
				a.Warn("could not erase credentials: " + err.Error())
			}
			return nil
		},
	}
}
