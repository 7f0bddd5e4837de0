package image

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/cli/terminal"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/image"
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

// listing is what is to be listed, and how.
type listing struct {
	all, quiet, noTrunc, digests, tree bool
	layout                             string
	filters                            api.Filters
}

func listImages(a *command.App, use string) *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use:               use,
		Short:             "List images",
		Args:              command.AtMost(1),
		Annotations:       command.Aliases("image ls", "image list", "images"),
		ValidArgsFunction: a.CompleteImages,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if len(args) == 1 {
				if l.filters == nil {
					l.filters = api.Filters{}
				}
				l.filters.Add("reference", args[0])
			}
			if l.tree {
				return l.showTree(ctx, a, daemon)
			}
			list, err := daemon.ImageList(ctx, client.ImageListOptions{All: l.all, Filters: l.filters})
			if err != nil {
				return err
			}
			return l.show(a, list)
		}),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&l.all, "all", "a", false, "Show all images (default hides intermediate images)")
	fs.BoolVar(&l.digests, "digests", false, "Show digests")
	opts.Filters(fs, &l.filters, "f", "Show only what these conditions hold for")
	fs.StringVar(&l.layout, "format", "", command.FormatUsage)
	fs.BoolVar(&l.noTrunc, "no-trunc", false, "Don't truncate output")
	fs.BoolVarP(&l.quiet, "quiet", "q", false, "Only show image IDs")
	fs.BoolVar(&l.tree, "tree", false, "Show the platforms of each image as a tree")
	return cmd
}

// show lists images by their names.
func (l *listing) show(a *command.App, list []image.Summary) error {
	layout := l.layout
	rows := format.Images(list, !l.noTrunc, l.digests || command.WantsField(layout, "Digest"), time.Now())
	if layout == "" {
		if l.quiet {
			return format.Lines(a.Out, "ID", rows)
		}
		layout = a.ConfigFile().ImagesFormat
	}
	if l.digests && isTableTemplate(layout) && !command.WantsField(layout, "Digest") {
		layout += "\t{{.Digest}}"
	}
	return format.Write(a.Out, layout, format.ImageTable(l.digests), rows)
}

// showTree lists images with their platforms; those without a name only if all are asked for.
func (l *listing) showTree(ctx context.Context, a *command.App, daemon *client.Client) error {
	for _, other := range []struct {
		flag  string
		given bool
	}{{"quiet", l.quiet}, {"no-trunc", l.noTrunc}, {"show-digest", l.digests}, {"format", l.layout != ""}} {
		if other.given {
			return fmt.Errorf("--%s is not yet supported with --tree", other.flag)
		}
	}
	list, err := daemon.ImageList(ctx, client.ImageListOptions{All: l.all, Filters: l.filters, Manifests: true})
	if err != nil {
		return err
	}
	if dangling, asked := l.filters["dangling"]; !l.all && (!asked || dangling["false"]) {
		list = slices.DeleteFunc(list, func(i image.Summary) bool { return len(i.RepoTags) == 0 })
	}
	_, width := terminal.Size(a.Stdout)
	if width > 0 {
		width = max(width, 20)
	}
	return format.Tree{Width: int(width), Color: a.OutputIsTerminal() && os.Getenv("NO_COLOR") == ""}.Images(a.Out, list)
}

// isTableTemplate tells a "table TEMPLATE" from a plain table and from other templates.
func isTableTemplate(layout string) bool {
	return strings.HasPrefix(layout, "table") && layout != "table"
}
