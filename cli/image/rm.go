package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Rmi(a *command.App) *cobra.Command { return removeImages(a, "rmi [OPTIONS] IMAGE [IMAGE...]") }

func Rm(a *command.App) *cobra.Command {
	cmd := removeImages(a, "rm [OPTIONS] IMAGE [IMAGE...]")
	cmd.Aliases = []string{"rmi", "remove"}
	return cmd
}

func removeImages(a *command.App, use string) *cobra.Command {
	var o client.ImageRemoveOptions
	var platforms []string
	cmd := &cobra.Command{
		Use:               use,
		Short:             "Remove one or more images",
		Args:              command.AtLeast(1),
		Annotations:       command.Aliases("image rm", "image remove", "rmi"),
		ValidArgsFunction: a.CompleteImages,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) (err error) {
			if o.Platforms, err = parsePlatforms(platforms); err != nil {
				return err
			}
			var errs []error
			for _, name := range args {
				gone, err := daemon.ImageRemove(ctx, name, o)
				if err != nil {
					errs = append(errs, err)
				}
				for _, g := range gone {
					if g.Deleted != "" {
						fmt.Fprintln(a.Out, "Deleted:", g.Deleted)
					} else {
						fmt.Fprintln(a.Out, "Untagged:", g.Untagged)
					}
				}
			}
			return removalErrors(a, errs, o.Force)
		}),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.Force, "force", "f", false, "Force removal of the image")
	fs.BoolVar(&o.NoPrune, "no-prune", false, "Do not delete untagged parents")
	fs.StringSliceVar(&platforms, "platform", nil, `Remove only this platform, "os[/arch[/variant]]"`)
	return cmd
}

// removalErrors sums up what could not be removed: with force an image that is not there is no failure.
func removalErrors(a *command.App, errs []error, force bool) error {
	if len(errs) == 0 {
		return nil
	}
	fatal := false
	for _, err := range errs {
		fatal = fatal || !errdefs.IsNotFound(err)
	}
	joined := errors.Join(errs...)
	if force && !fatal {
		fmt.Fprintln(a.Err, joined)
		return nil
	}
	return joined
}
