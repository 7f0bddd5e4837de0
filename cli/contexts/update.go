package contexts

import (
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/config"
	"github.com/spf13/cobra"
)

func Update(a *command.App) *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:               "update [OPTIONS] CONTEXT",
		Short:             "Update a context",
		Long:              about("Update a context: what is not named stays as it is", "update"),
		Args:              command.Exactly(1),
		ValidArgsFunction: a.CompleteContexts,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.described = cmd.Flags().Changed("description")
			if err := update(a, args[0], s); err != nil {
				return err
			}
			fmt.Fprintln(a.Out, args[0])
			fmt.Fprintf(a.Err, "Successfully updated context %q\n", args[0])
			return nil
		},
	}
	s.add(cmd.Flags())
	return cmd
}

func update(a *command.App, name string, s settings) error {
	if err := config.CheckName(name); err != nil {
		return err
	}
	found, err := a.ConfigFile().Context(name)
	if err != nil {
		return err
	}
	m := found.Metadata
	if s.described {
		if err := m.Describe(s.description); err != nil {
			return err
		}
	}
	var certificates config.Certificates
	if s.daemon != nil {
		if certificates, err = s.reach(a, &m); err != nil {
			return fmt.Errorf("unable to create docker endpoint config: %w", err)
		}
	}
	return a.ConfigFile().Keep(m, certificates)
}
