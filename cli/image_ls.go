package cli

import (
	"context"
	"fmt"
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

func (a *app) imageHistory() *cobra.Command {
	var human, quiet, noTrunc bool
	var layout, platform string
	cmd := &cobra.Command{
		Use:               "history [OPTIONS] IMAGE",
		Short:             "Show the history of an image",
		Args:              exactly(1),
		Annotations:       aliases("image history", "history"),
		ValidArgsFunction: a.completeImages,
		RunE: a.call(func(ctx context.Context, daemon *client.Client, args []string) error {
			p, err := parsePlatform(platform)
			if err != nil {
				return err
			}
			list, err := daemon.ImageHistory(ctx, args[0], p)
			if err != nil {
				return err
			}
			rows := format.HistoryRows(list, !noTrunc, human, time.Now())
			if quiet && (layout == "" || layout == "table") {
				return format.Lines(a.out, "ID", rows)
			}
			return format.Write(a.out, layout, format.HistoryTable(human), rows)
		}),
	}
	fs := cmd.Flags()
	fs.StringVar(&layout, "format", "", formatUsage)
	fs.BoolVarP(&human, "human", "H", true, "Print sizes and dates in human readable format")
	fs.BoolVar(&noTrunc, "no-trunc", false, "Don't truncate output")
	fs.StringVar(&platform, "platform", "", `Show the history of this platform, "os[/arch[/variant]]"`)
	fs.BoolVarP(&quiet, "quiet", "q", false, "Only show image IDs")
	return cmd
}

func (a *app) imageTag() *cobra.Command {
	return &cobra.Command{
		Use:               "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
		Short:             "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
		Args:              exactly(2),
		Annotations:       aliases("image tag", "tag"),
		ValidArgsFunction: a.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.tag(cmd.Context(), args[0], args[1])
		},
	}
}

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
