package volume

import (
	"context"
	"errors"
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/volume"
	"github.com/spf13/cobra"
)

func Create(a *command.App) *cobra.Command {
	request := volume.CreateRequest{}
	var labels []string
	var name string
	cmd := &cobra.Command{
		Use:               "create [OPTIONS] [VOLUME]",
		Short:             "Create a volume",
		Args:              command.AtMost(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
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
			fmt.Fprintln(a.Out, v.Name)
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
