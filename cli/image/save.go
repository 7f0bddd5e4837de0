package image

import (
	"context"
	"errors"
	"io"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Save(a *command.App) *cobra.Command {
	var output string
	var platforms []string
	cmd := &cobra.Command{
		Use:               "save [OPTIONS] IMAGE [IMAGE...]",
		Short:             "Save one or more images to a tar archive (streamed to STDOUT by default)",
		Args:              command.AtLeast(1),
		Annotations:       command.Aliases("image save", "save"),
		ValidArgsFunction: a.CompleteImages,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			wanted, err := parsePlatforms(platforms)
			if err != nil {
				return err
			}
			if output == "" && a.OutputIsTerminal() {
				return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
			}
			if err := command.CheckOutput("save image", output); err != nil {
				return err
			}
			archive, err := daemon.ImageSave(ctx, args, wanted)
			if err != nil {
				return err
			}
			defer archive.Close()
			if output == "" {
				_, err = io.Copy(a.Out, archive)
				return err
			}
			return command.WriteOutput(output, archive)
		}),
	}
	fs := cmd.Flags()
	fs.StringVarP(&output, "output", "o", "", "Write to this file instead of STDOUT")
	fs.StringSliceVar(&platforms, "platform", nil, `Save only these platforms, "os[/arch[/variant]]" (e.g., "linux/amd64")`)
	return cmd
}
