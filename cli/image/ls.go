package image

import (
	"context"
	"strings"
	"time"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Images(a *command.App) *cobra.Command {
	return listImages(a, "images [OPTIONS] [REPOSITORY[:TAG]]")
}

func Ls(a *command.App) *cobra.Command {
	cmd := listImages(a, "ls [OPTIONS] [REPOSITORY[:TAG]]")
	cmd.Aliases = []string{"list"}
	return cmd
}

func listImages(a *command.App, use string) *cobra.Command {
	var all, quiet, noTrunc, digests bool
	var layout string
	var filters api.Filters
	cmd := &cobra.Command{
		Use:               use,
		Short:             "List images",
		Args:              command.AtMost(1),
		Annotations:       command.Aliases("image ls", "image list", "images"),
		ValidArgsFunction: a.CompleteImages,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if len(args) == 1 {
				if filters == nil {
					filters = api.Filters{}
				}
				filters.Add("reference", args[0])
			}
			list, err := daemon.ImageList(ctx, client.ImageListOptions{All: all, Filters: filters})
			if err != nil {
				return err
			}
			rows := format.Images(list, !noTrunc, digests || command.WantsField(layout, "Digest"), time.Now())
			if layout == "" {
				if quiet {
					return format.Lines(a.Out, "ID", rows)
				}
				layout = a.ConfigFile().ImagesFormat
			}
			if digests && isTableTemplate(layout) && !command.WantsField(layout, "Digest") {
				layout += "\t{{.Digest}}"
			}
			return format.Write(a.Out, layout, format.ImageTable(digests), rows)
		}),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "Show all images (default hides intermediate images)")
	fs.BoolVar(&digests, "digests", false, "Show digests")
	opts.Filters(fs, &filters, "f", "Show only what these conditions hold for")
	fs.StringVar(&layout, "format", "", command.FormatUsage)
	fs.BoolVar(&noTrunc, "no-trunc", false, "Don't truncate output")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Only show image IDs")
	return cmd
}

// isTableTemplate tells a "table TEMPLATE" from a plain table and from other templates.
func isTableTemplate(layout string) bool {
	return strings.HasPrefix(layout, "table") && layout != "table"
}
