package image

import (
	"context"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// Find describes an image for inspect commands.
func Find(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
	return command.Describe(daemon.ImageInspect(ctx, name, nil))
}

func Inspect(a *command.App) *cobra.Command {
	var layout, platform string
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] IMAGE [IMAGE...]",
		Short:             "Display detailed information on one or more images",
		Args:              command.AtLeast(1),
		ValidArgsFunction: a.CompleteImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := parsePlatform(platform)
			if err != nil {
				return err
			}
			return a.InspectAll(cmd.Context(), args, layout, func(ctx context.Context, daemon *client.Client, name string) (any, []byte, error) {
				return command.Describe(daemon.ImageInspect(ctx, name, p))
			})
		},
	}
	cmd.Flags().StringVarP(&layout, "format", "f", "", command.InspectUsage)
	cmd.Flags().StringVar(&platform, "platform", "", `Inspect this platform of the image, "os[/arch[/variant]]"`)
	return cmd
}
