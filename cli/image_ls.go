package cli

import (
	"context"
	"time"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

const formatUsage = `Show the output by a Go template: "table", "table TEMPLATE", "json" or "TEMPLATE"`

// inspectUsage is formatUsage of commands that show objects whole.
const inspectUsage = `Show the output by a Go template: "json" or "TEMPLATE"`

func (a *app) images() *cobra.Command { return a.listImages("images [OPTIONS] [REPOSITORY[:TAG]]") }

func (a *app) imageLs() *cobra.Command {
	cmd := a.listImages("ls [OPTIONS] [REPOSITORY[:TAG]]")
	cmd.Aliases = []string{"list"}
	return cmd
}

func (a *app) listImages(use string) *cobra.Command {
	var all, quiet, noTrunc, digests bool
	var layout string
	var filters api.Filters
	cmd := &cobra.Command{
		Use:               use,
		Short:             "List images",
		Args:              atMost(1),
		Annotations:       aliases("image ls", "image list", "images"),
		ValidArgsFunction: a.completeImages,
		RunE: a.call(func(ctx context.Context, daemon *client.Client, args []string) error {
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
			rows := format.Images(list, !noTrunc, digests || wantsField(layout, "Digest"), time.Now())
			if layout == "" {
				if quiet {
					return format.Lines(a.out, "ID", rows)
				}
				layout = a.configFile().ImagesFormat
			}
			if digests && isTableTemplate(layout) && !wantsField(layout, "Digest") {
				layout += "\t{{.Digest}}"
			}
			return format.Write(a.out, layout, format.ImageTable(digests), rows)
		}),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "Show all images (default hides intermediate images)")
	fs.BoolVar(&digests, "digests", false, "Show digests")
	opts.Filters(fs, &filters, "f", "Show only what these conditions hold for")
	fs.StringVar(&layout, "format", "", formatUsage)
	fs.BoolVar(&noTrunc, "no-trunc", false, "Don't truncate output")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Only show image IDs")
	return cmd
}
