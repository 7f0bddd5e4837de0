package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/terminal"
	"github.com/spf13/cobra"
)

// help prints what a command is for and how it is called.
func help(a *command.App, cmd *cobra.Command) {
	var b strings.Builder
	line := cmd.UseLine()
	switch {
	case !cmd.HasParent():
		line = command.Name + " [OPTIONS] COMMAND"
	case cmd.HasSubCommands() && cmd.Use == cmd.Name():
		line = cmd.CommandPath() + " COMMAND"
	}
	fmt.Fprintf(&b, "Usage:  %s\n\n", line)
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	fmt.Fprintf(&b, "%s\n", text)
	if names := cmd.Annotations["aliases"]; names != "" {
		fmt.Fprintf(&b, "\nAliases:\n  %s\n", names)
	}
	if cmd.HasParent() {
		options(&b, "Options", cmd, width(a))
		children(&b, plain, cmd.Commands(), "")
	} else {
		commands := cmd.Commands()
		slices.SortStableFunc(commands, func(x, y *cobra.Command) int { return place(x) - place(y) })
		for _, heading := range []string{common, management, plain} {
			children(&b, heading, commands, heading)
		}
		options(&b, "Global Options", cmd, width(a))
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\nRun '%s COMMAND --help' for more information on a command.\n", cmd.CommandPath())
	}
	fmt.Fprint(cmd.OutOrStdout(), b.String())
}

// options lists the flags of cmd.
func options(b *strings.Builder, heading string, cmd *cobra.Command, width int) {
	cmd.InitDefaultHelpFlag()
	flags := cmd.NonInheritedFlags()
	if help := flags.Lookup("help"); help != nil {
		help.Hidden = strings.HasPrefix(help.Usage, "help for ") // every command has it
	}
	if flags.HasAvailableFlags() {
		fmt.Fprintf(b, "\n%s:\n%s", heading, flags.FlagUsagesWrapped(width-1))
	}
}

// place is where a command of the first level stands among its like.
func place(cmd *cobra.Command) int {
	return slices.IndexFunc(entries(), func(e entry) bool { return e.name == cmd.Name() })
}

// children lists those of commands that belong under heading; with no group all of them do.
func children(b *strings.Builder, heading string, commands []*cobra.Command, group string) {
	first := true
	for _, child := range commands {
		if !child.IsAvailableCommand() || group != "" && child.Annotations["group"] != group {
			continue
		}
		if first {
			fmt.Fprintf(b, "\n%s:\n", heading)
			first = false
		}
		fmt.Fprintf(b, "  %-11s %s\n", child.Name(), child.Short)
	}
}

func width(a *command.App) int {
	if _, w := terminal.Size(a.In); w > 0 {
		return int(w)
	}
	return 80
}

// helpCommand is "help COMMAND".
func helpCommand(a *command.App, root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:    "help [COMMAND]",
		Short:  "Help about the command",
		Hidden: true,
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil {
				rest = args
			}
			if len(rest) > 0 {
				return fmt.Errorf("unknown help topic: %s", strings.Join(rest, " "))
			}
			if command.IsElsewhere(cmd) {
				return a.RunElsewhere(cmd)
			}
			help(a, cmd)
			return nil
		},
	}
}
