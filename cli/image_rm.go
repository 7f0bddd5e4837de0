package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func (a *app) rmi() *cobra.Command { return a.removeImages("rmi [OPTIONS] IMAGE [IMAGE...]") }

func (a *app) imageRm() *cobra.Command {
	cmd := a.removeImages("rm [OPTIONS] IMAGE [IMAGE...]")
	cmd.Aliases = []string{"rmi", "remove"}
	return cmd
}

func (a *app) removeImages(use string) *cobra.Command {
	var o client.ImageRemoveOptions
	var platforms []string
	cmd := &cobra.Command{
		Use:               use,
		Short:             "Remove one or more images",
		Args:              atLeast(1),
		Annotations:       aliases("image rm", "image remove", "rmi"),
		ValidArgsFunction: a.completeImages,
		RunE: a.call(func(ctx context.Context, daemon *client.Client, args []string) (err error) {
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
						fmt.Fprintln(a.out, "Deleted:", g.Deleted)
					} else {
						fmt.Fprintln(a.out, "Untagged:", g.Untagged)
					}
				}
			}
			return a.removalErrors(errs, o.Force)
		}),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.Force, "force", "f", false, "Force removal of the image")
	fs.BoolVar(&o.NoPrune, "no-prune", false, "Do not delete untagged parents")
	fs.StringSliceVar(&platforms, "platform", nil, `Remove only this platform, "os[/arch[/variant]]"`)
	return cmd
}

// removalErrors sums up what could not be removed: with force an image that is not there is no failure.
func (a *app) removalErrors(errs []error, force bool) error {
	if len(errs) == 0 {
		return nil
	}
	fatal := false
	for _, err := range errs {
		fatal = fatal || !errdefs.IsNotFound(err)
	}
	joined := errors.Join(errs...)
	if force && !fatal {
		fmt.Fprintln(a.err, joined)
		return nil
	}
	return joined
}
