package container

import (
	"strings"
	"time"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Ps(a *command.App) *cobra.Command { return listContainers(a, "ps [OPTIONS]") }

func Ls(a *command.App) *cobra.Command {
	cmd := listContainers(a, "ls [OPTIONS]")
	cmd.Aliases = []string{"ps", "list"}
	return cmd
}

func listContainers(a *command.App, use string) *cobra.Command {
	var o client.ListOptions
	var quiet, noTrunc, latest bool
	var layout string
	cmd := &cobra.Command{
		Use:         use,
		Short:       "List containers",
		Args:        command.NoArgs,
		Annotations: command.Aliases("container ls", "container list", "container ps", "ps"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if latest && o.Limit == -1 {
				o.Limit = 1
			}
			if layout != "" && quiet {
				a.Warn("Ignoring custom format, because both --format and --quiet are set.")
			}
			if layout == "" {
				layout = a.ConfigFile().PsFormat
			}
			if err := format.Check[format.Container](layout); err != nil {
				return err
			}
			if !quiet && (command.WantsField(layout, "Size") || strings.Contains(layout, "json .}}")) && !cmd.Flags().Changed("size") {
				o.Size = true
			}
			daemon, err := a.Client()
			if err != nil {
				return err
			}
			list, err := daemon.ContainerList(cmd.Context(), o)
			if err != nil {
				return err
			}
			rows := format.Containers(list, !noTrunc, time.Now())
			if quiet {
				return format.Lines(a.Out, "ID", rows)
			}
			return format.Write(a.Out, layout, format.ContainerTable(o.Size), rows)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.All, "all", "a", false, "Show all containers (default shows just running)")
	opts.Filters(fs, &o.Filters, "f", "Show only what these conditions hold for")
	fs.StringVar(&layout, "format", "", command.FormatUsage)
	fs.IntVarP(&o.Limit, "last", "n", -1, "Show n last created containers (includes all states)")
	fs.BoolVarP(&latest, "latest", "l", false, "Show the latest created container (includes all states)")
	fs.BoolVar(&noTrunc, "no-trunc", false, "Don't truncate output")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Only display container IDs")
	fs.BoolVarP(&o.Size, "size", "s", false, "Display total file sizes")
	return cmd
}
