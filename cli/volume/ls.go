package volume

import (
	"context"
	"slices"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/volume"
	"github.com/spf13/cobra"
)

func Ls(a *command.App) *cobra.Command {
	var quiet bool
	var layout string
	var filters api.Filters
	cmd := &cobra.Command{
		Use:         "ls [OPTIONS]",
		Short:       "List volumes",
		Aliases:     []string{"list"},
		Args:        command.NoArgs,
		Annotations: command.Aliases("volume ls", "volume list"),
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			answer, err := daemon.VolumeList(ctx, filters)
			if err != nil {
				return err
			}
			slices.SortFunc(answer.Volumes, func(x, y volume.Volume) int { return format.Natural(x.Name, y.Name) })
			rows := format.Volumes(answer.Volumes)
			return command.List(a, layout, a.ConfigFile().VolumesFormat, quiet, "Name", format.VolumeTable(), rows)
		}),
	}
	fs := cmd.Flags()
	opts.Filters(fs, &filters, "f", `Show only what these conditions hold for (e.g. "dangling=true")`)
	fs.StringVar(&layout, "format", "", command.FormatUsage)
	fs.BoolVarP(&quiet, "quiet", "q", false, "Only display volume names")
	return cmd
}
