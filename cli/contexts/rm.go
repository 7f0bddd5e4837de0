package contexts

import (
	"errors"
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/spf13/cobra"
)

func Rm(a *command.App) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "rm [OPTIONS] CONTEXT [CONTEXT...]",
		Short:             "Remove one or more contexts",
		Aliases:           []string{"remove"},
		Annotations:       command.Aliases("context rm", "context remove"),
		Args:              command.AtLeast(1),
		ValidArgsFunction: a.CompleteContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			inForce := a.ContextName()
			return a.Each(args, func(name string) error { return remove(a, name, name == inForce, force) })
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Force the removal of a context in use")
	return cmd
}

func remove(a *command.App, name string, inForce, force bool) error {
	switch {
	case name == "default":
		return errors.New(`context "default" cannot be removed`)
	case inForce && !force:
		return fmt.Errorf("context %q is in use, set -f flag to force remove", name)
	case !force && !a.ConfigFile().HasContext(name):
		return fmt.Errorf("context %q does not exist", name)
	}
	if a.ConfigFile().CurrentContext == name {
		if err := a.ConfigFile().UseContext("default"); err != nil {
			return err
		}
	}
	return a.ConfigFile().Drop(name)
}
