package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/volume"
	"github.com/spf13/cobra"
)

func (a *app) volumeCreate() *cobra.Command {
	request := volume.CreateRequest{}
	var labels []string
	var name string
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] [VOLUME]",
		Short: "Create a volume",
		Args:  atMost(1),
		RunE: a.call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if len(args) == 1 {
				if name != "" {
					return errors.New("conflicting options: cannot specify a volume-name through both --name and as a positional arg")
				}
				name = args[0]
			}
			request.Name, request.Labels = name, opts.Pairs(labels)
			v, err := daemon.VolumeCreate(ctx, request)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, v.Name)
			return nil
		}),
	}
	fs := cmd.Flags()
	fs.StringVarP(&request.Driver, "driver", "d", "local", "Driver of the volume")
	opts.List(fs, &labels, "label", "", "Set labels on the volume", opts.Label)
	fs.StringVar(&name, "name", "", "Name of the volume")
	fs.Lookup("name").Hidden = true
	opts.Map(fs, &request.DriverOpts, "opt", "o", "Options of the driver", nil)
	return cmd
}

func (a *app) volumeLs() *cobra.Command {
	var quiet bool
	var layout string
	var filters api.Filters
	cmd := &cobra.Command{
		Use:         "ls [OPTIONS]",
		Short:       "List volumes",
		Aliases:     []string{"list"},
		Args:        noArgs,
		Annotations: aliases("volume ls", "volume list"),
		RunE: a.call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			answer, err := daemon.VolumeList(ctx, filters)
			if err != nil {
				return err
			}
			slices.SortFunc(answer.Volumes, func(x, y volume.Volume) int { return format.Natural(x.Name, y.Name) })
			rows := format.Volumes(answer.Volumes)
			if layout == "" {
				if quiet {
					return format.Lines(a.out, "Name", rows)
				}
				layout = a.configFile().VolumesFormat
			}
			return format.Write(a.out, layout, format.VolumeTable(), rows)
		}),
	}
	fs := cmd.Flags()
	opts.Filters(fs, &filters, "f", `Show only what these conditions hold for (e.g. "dangling=true")`)
	fs.StringVar(&layout, "format", "", formatUsage)
	fs.BoolVarP(&quiet, "quiet", "q", false, "Only display volume names")
	return cmd
}

func (a *app) volumeInspect() *cobra.Command {
	var layout string
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] VOLUME [VOLUME...]",
		Short:             "Display detailed information on one or more volumes",
		Args:              atLeast(1),
		ValidArgsFunction: a.completeVolumes,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inspectAll(cmd.Context(), args, layout, findVolume)
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", inspectUsage)
	return cmd
}

func (a *app) volumeRm() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "rm [OPTIONS] VOLUME [VOLUME...]",
		Short:             "Remove one or more volumes",
		Long:              "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
		Aliases:           []string{"remove"},
		Args:              atLeast(1),
		Annotations:       aliases("volume rm", "volume remove"),
		ValidArgsFunction: a.completeVolumes,
		RunE: a.call(func(ctx context.Context, daemon *client.Client, args []string) error {
			var errs []error
			for _, name := range args {
				if err := daemon.VolumeRemove(ctx, name, force); err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintln(a.out, name)
			}
			return errors.Join(errs...)
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Do not mind volumes that do not exist")
	return cmd
}
