package contexts

import (
	"fmt"
	"slices"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/config"
	"github.com/cove-containers/cove/cli/format"
	"github.com/spf13/cobra"
)

func Ls(a *command.App) *cobra.Command {
	var layout string
	var quiet bool
	cmd := &cobra.Command{
		Use:         "ls [OPTIONS]",
		Short:       "List contexts",
		Aliases:     []string{"list"},
		Args:        command.NoArgs,
		Annotations: command.Aliases("context ls", "context list"),
		RunE: func(*cobra.Command, []string) error {
			list, err := known(a)
			if err != nil {
				return err
			}
			current := a.ContextName()
			for _, name := range []string{"COVE_HOST", "DOCKER_HOST"} {
				if config.FirstEnv(name) != "" && a.Global.Context == "" {
					fmt.Fprintf(a.Err, "Warning: %s environment variable overrides the active context. To use a context, either set the global --context flag, or unset %s environment variable.\n", name, name)
				}
			}
			var rows []format.Context
			for _, c := range list {
				row := format.Context{Name: c.Name, Title: c.Name, Description: c.Description(), DockerEndpoint: c.Host, Current: c.Name == current}
				if row.Current {
					row.Title += " *"
				}
				rows = append(rows, row)
			}
			if !slices.ContainsFunc(rows, func(r format.Context) bool { return r.Current }) {
				_, err := a.ConfigFile().Context(current)
				row := format.Context{Name: current, Title: current + " *", Current: true}
				if err != nil {
					row.Error = format.Ellipsis(err.Error(), 45)
				}
				rows = append(rows, row)
			}
			slices.SortFunc(rows, func(x, y format.Context) int { return format.Natural(x.Name, y.Name) })
			if quiet {
				return format.Lines(a.Out, "Name", rows)
			}
			return format.Write(a.Out, layout, format.ContextTable(), rows)
		},
	}
	cmd.Flags().StringVar(&layout, "format", "", command.FormatUsage)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only show context names")
	return cmd
}
