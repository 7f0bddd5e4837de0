package command

import (
	"strings"

	"github.com/spf13/cobra"
)

// Aliases lists all the ways a command is called, for its help.
func Aliases(paths ...string) map[string]string {
	text := ""
	for i, p := range paths {
		if i > 0 {
			text += ", "
		}
		text += Name + " " + p
	}
	return map[string]string{"aliases": text}
}

// FormatUsage explains --format of commands that list.
const FormatUsage = `Show the output by a Go template: "table", "table TEMPLATE", "json" or "TEMPLATE"`

// InspectUsage explains --format of commands that show objects whole.
const InspectUsage = `Show the output by a Go template: "json" or "TEMPLATE"`

// WantsField tells whether a template names a field.
func WantsField(layout, field string) bool { return strings.Contains(layout, "."+field) }

// Group is a command that only holds others. Called alone it explains itself, where errors go: it has done nothing.
func Group(name, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  UnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(cmd.ErrOrStderr())
			cmd.HelpFunc()(cmd, nil)
			return nil
		},
	}
	cmd.AddCommand(children...)
	return cmd
}

// Missing makes a command that says that it is not there yet, whatever flags it is called with.
func Missing(name, what string) func(*App) *cobra.Command {
	return func(*App) *cobra.Command {
		return &cobra.Command{
			Use:                name,
			Short:              "Not supported yet",
			DisableFlagParsing: true,
			Hidden:             true,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return &StatusError{Code: 1, Text: Name + ": '" + cmd.CommandPath() + "' is not supported yet: " + what + " is still missing in Cove"}
			},
		}
	}
}
