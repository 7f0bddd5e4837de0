package system

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"
)

func Df(a *command.App) *cobra.Command {
	var layout string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "df [OPTIONS]",
		Short: "Show disk usage",
		Args:  command.NoArgs,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			du, err := daemon.DiskUsage(ctx, verbose)
			if err != nil {
				return err
			}
			if verbose {
				return usageInFull(a.Out, layout, du)
			}
			return format.Write(a.Out, layout, format.UsageTable(), format.Usages(du))
		}),
	}
	cmd.Flags().StringVar(&layout, "format", "", command.FormatUsage)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Show detailed information on space usage")
	return cmd
}

// usageInFull shows every object that takes up space.
func usageInFull(w io.Writer, layout string, du system.DiskUsage) error {
	u := format.UsageInFull(du, layout == "" || layout == "table", time.Now())
	if layout != "" && layout != "table" {
		return format.Value(w, layout, u)
	}
	fmt.Fprint(w, "Images space usage:\n\n")
	if err := format.Write(w, "", format.UsageImageTable(), u.Images); err != nil {
		return err
	}
	fmt.Fprint(w, "\nContainers space usage:\n\n")
	if err := format.Write(w, "", format.UsageContainerTable(), u.Containers); err != nil {
		return err
	}
	fmt.Fprint(w, "\nLocal Volumes space usage:\n\n")
	if err := format.Write(w, "", format.UsageVolumeTable(), u.Volumes); err != nil {
		return err
	}
	var cache int64
	if du.BuildCacheUsage != nil {
		cache = du.BuildCacheUsage.TotalSize
	}
	fmt.Fprintf(w, "\nBuild cache usage: %s\n\n", format.LongSize(cache))
	return format.Write(w, "", format.BuildCacheTable(), u.BuildCache)
}
