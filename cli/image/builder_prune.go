package image

import (
	"context"
	"fmt"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func BuilderPrune(a *command.App) *cobra.Command {
	var force, verbose bool
	var o client.BuildPruneOptions
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: "Remove build cache",
		Args:  command.NoArgs,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			o.Filters = a.PruneFilters(o.Filters)
			if !force {
				yes, err := a.Confirm(ctx, "WARNING! This will remove "+BuilderPruning(o.All).Warning+". Are you sure you want to continue?")
				if err != nil || !yes {
					return err
				}
			}
			list, freed, err := pruneCache(ctx, daemon, o)
			if err != nil {
				return err
			}
			if list != "" {
				fmt.Fprintln(a.Out, list)
			}
			fmt.Fprintf(a.Out, "Total:\t%s\n", format.LongSize(int64(freed)))
			return nil
		}),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.All, "all", "a", false, "Remove all unused build cache, not just dangling ones")
	opts.Filters(fs, &o.Filters, "", `Prune only what these conditions hold for (e.g. "until=24h")`)
	fs.BoolVarP(&force, "force", "f", false, "Do not ask for confirmation")
	opts.Bytes(fs, &o.ReservedSpace, "reserved-space", "", "Amount of disk space always allowed to keep for cache")
	opts.Bytes(fs, &o.MaxUsedSpace, "max-used-space", "", "Maximum amount of disk space allowed to keep for cache")
	opts.Bytes(fs, &o.MinFreeSpace, "min-free-space", "", "Target amount of free disk space after pruning")
	opts.Bytes(fs, &o.ReservedSpace, "keep-storage", "", "Amount of disk space to keep for cache")
	fs.BoolVar(&verbose, "verbose", false, "Provide a more verbose output")
	_ = fs.MarkHidden("keep-storage")
	_ = fs.MarkHidden("verbose")
	return cmd
}

// BuilderPruning tells how the build cache is pruned by "system prune".
func BuilderPruning(all bool) command.Pruning {
	warning := "unused build cache"
	if all {
		warning = "all build cache"
	}
	return command.Pruning{
		What: "build cache", Warning: warning, Sizes: true,
		Do: func(ctx context.Context, daemon *client.Client, f api.Filters) (string, uint64, error) {
			return pruneCache(ctx, daemon, client.BuildPruneOptions{All: all, Filters: f})
		},
	}
}

func pruneCache(ctx context.Context, daemon *client.Client, o client.BuildPruneOptions) (list string, freed uint64, err error) {
	report, err := daemon.BuildCachePrune(ctx, o)
	return command.Listing("Deleted build cache objects:", report.CachesDeleted), report.SpaceReclaimed, err
}
