package system

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/container"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/image"
	"github.com/cove-containers/cove/cli/network"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/cli/volume"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Prune(a *command.App) *cobra.Command {
	var force, all, volumes bool
	var filters api.Filters
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: "Remove unused data",
		Args:  command.NoArgs,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			filters := a.PruneFilters(filters)
			if volumes && filters.Has("until") {
				return errors.New(`ERROR: The "until" filter is not supported with "--volumes"`)
			}
			list := []command.Pruning{container.Pruning(), network.Pruning()}
			if volumes {
				list = append(list, volume.Pruning(false))
			}
			list = append(list, image.Pruning(all), image.BuilderPruning(all))
			if !force {
				yes, err := a.Confirm(ctx, warning(list, filters))
				if err != nil {
					return err
				}
				if !yes {
					return nil
				}
			}
			var total uint64
			for _, p := range list {
				text, freed, err := p.Do(ctx, daemon, filters)
				if err != nil {
					return err
				}
				if text != "" {
					fmt.Fprintln(a.Out, text)
				}
				total += freed
			}
			fmt.Fprintln(a.Out, "Total reclaimed space:", format.LongSize(int64(total)))
			return nil
		}),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "Remove all unused images and build cache, not just what is dangling")
	opts.Filters(fs, &filters, "", `Prune only what these conditions hold for (e.g. "label=<key>=<value>")`)
	fs.BoolVarP(&force, "force", "f", false, "Do not ask for confirmation")
	fs.BoolVar(&volumes, "volumes", false, "Prune anonymous volumes")
	return cmd
}

// warning says all that system prune is going to remove.
func warning(list []command.Pruning, filters api.Filters) string {
	var b strings.Builder
	b.WriteString("WARNING! This will remove:\n")
	for _, p := range list {
		warning := p.Warning
		switch p.What {
		case "network":
			warning = "all networks not used by at least one container"
		case "volume":
			warning = "all anonymous volumes not used by at least one container"
		}
		b.WriteString("  - " + warning + "\n")
	}
	if len(filters) > 0 {
		b.WriteString("\n  Items to be pruned will be filtered with:\n")
		for name := range filters {
			for _, v := range filters.Get(name) {
				b.WriteString("  - " + name + "=" + v + "\n")
			}
		}
	}
	b.WriteString("\nAre you sure you want to continue?")
	return b.String()
}
