package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// confirm asks the user; anything but a yes is a no. It ends with ctx.
func (a *app) confirm(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(a.out, question, " [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.in).ReadString('\n')
		answer <- line
	}()
	select {
	case line := <-answer:
		return strings.EqualFold(strings.TrimSpace(line), "y"), nil
	case <-ctx.Done():
		fmt.Fprintln(a.out)
		return false, ctx.Err()
	}
}

// pruning is one kind of thing that can be pruned.
type pruning struct {
	what    string // "image", "volume" …
	warning string
	// do prunes and gives the list of what has gone and the bytes that has freed.
	do func(ctx context.Context, daemon *client.Client, f api.Filters) (list string, freed uint64, err error)
	// sizes tells that the bytes are worth mentioning.
	sizes bool
}

// pruneCommand makes "prune" of p; all, when it is not nil, is its flag -a.
func (a *app) pruneCommand(short string, all *bool, allUsage string, p func() pruning) *cobra.Command {
	var force bool
	var filters api.Filters
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: short,
		Args:  noArgs,
		RunE: a.call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			p := p()
			if !force {
				yes, err := a.confirm(ctx, "WARNING! This will remove "+p.warning+".\nAre you sure you want to continue?")
				if err != nil {
					return err
				}
				if !yes {
					return nil
				}
			}
			list, freed, err := p.do(ctx, daemon, filters)
			if err != nil {
				return err
			}
			if list != "" {
				fmt.Fprintln(a.out, list)
			}
			if p.sizes {
				fmt.Fprintln(a.out, "Total reclaimed space:", format.LongSize(int64(freed)))
			}
			return nil
		}),
	}
	fs := cmd.Flags()
	if all != nil {
		fs.BoolVarP(all, "all", "a", false, allUsage)
	}
	opts.Filters(fs, &filters, "", `Prune only what these conditions hold for (e.g. "until=<timestamp>")`)
	fs.BoolVarP(&force, "force", "f", false, "Do not ask for confirmation")
	return cmd
}

func (a *app) containerPrune() *cobra.Command {
	return a.pruneCommand("Remove all stopped containers", nil, "", containersPruning)
}

func containersPruning() pruning {
	return pruning{
		what: "container", warning: "all stopped containers", sizes: true,
		do: func(ctx context.Context, daemon *client.Client, f api.Filters) (string, uint64, error) {
			report, err := daemon.ContainersPrune(ctx, f)
			return listing("Deleted Containers:", report.ContainersDeleted), report.SpaceReclaimed, err
		},
	}
}

func (a *app) imagePrune() *cobra.Command {
	var all bool
	return a.pruneCommand("Remove unused images", &all, "Remove all unused images, not just dangling ones", func() pruning { return imagesPruning(all) })
}

func imagesPruning(all bool) pruning {
	warning, dangling := "all dangling images", "true"
	if all {
		warning, dangling = "all images without at least one container associated to them", "false"
	}
	return pruning{
		what: "image", warning: warning, sizes: true,
		do: func(ctx context.Context, daemon *client.Client, f api.Filters) (string, uint64, error) {
			report, err := daemon.ImagesPrune(ctx, with(f, "dangling", dangling))
			var lines []string
			for _, gone := range report.ImagesDeleted {
				if gone.Untagged != "" {
					lines = append(lines, "untagged: "+gone.Untagged)
				} else {
					lines = append(lines, "deleted: "+gone.Deleted)
				}
			}
			return listing("Deleted Images:", lines), report.SpaceReclaimed, err
		},
	}
}

func (a *app) volumePrune() *cobra.Command {
	var all bool
	return a.pruneCommand("Remove unused local volumes", &all, "Remove all unused volumes, not just anonymous ones", func() pruning { return volumesPruning(all) })
}

func volumesPruning(all bool) pruning {
	warning := "anonymous local volumes not used by at least one container"
	if all {
		warning = "all local volumes not used by at least one container"
	}
	return pruning{
		what: "volume", warning: warning, sizes: true,
		do: func(ctx context.Context, daemon *client.Client, f api.Filters) (string, uint64, error) {
			if all {
				if f.Has("all") {
					return "", 0, errors.New("conflicting options: cannot specify both --all and --filter all=1")
				}
				f = with(f, "all", "true")
			}
			report, err := daemon.VolumesPrune(ctx, f)
			return listing("Deleted Volumes:", report.VolumesDeleted), report.SpaceReclaimed, err
		},
	}
}

func (a *app) networkPrune() *cobra.Command {
	return a.pruneCommand("Remove all unused networks", nil, "", networksPruning)
}

func networksPruning() pruning {
	return pruning{
		what: "network", warning: "all custom networks not used by at least one container",
		do: func(ctx context.Context, daemon *client.Client, f api.Filters) (string, uint64, error) {
			report, err := daemon.NetworksPrune(ctx, f)
			return listing("Deleted Networks:", report.NetworksDeleted), 0, err
		},
	}
}

// listing puts a heading over lines; no lines need none.
func listing(heading string, lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return heading + "\n" + strings.Join(lines, "\n") + "\n"
}

// with gives a copy of f with one condition more.
func with(f api.Filters, name, value string) api.Filters {
	out := api.Filters{}
	for n, values := range f {
		for v := range values {
			out.Add(n, v)
		}
	}
	out.Add(name, value)
	return out
}

func (a *app) systemPrune() *cobra.Command {
	var force, all, volumes bool
	var filters api.Filters
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: "Remove unused data",
		Args:  noArgs,
		RunE: a.call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			if volumes && filters.Has("until") {
				return errors.New(`ERROR: The "until" filter is not supported with "--volumes"`)
			}
			list := []pruning{containersPruning(), networksPruning()}
			if volumes {
				list = append(list, volumesPruning(false))
			}
			list = append(list, imagesPruning(all))
			if !force {
				yes, err := a.confirm(ctx, systemWarning(list, filters))
				if err != nil {
					return err
				}
				if !yes {
					return nil
				}
			}
			var total uint64
			for _, p := range list {
				text, freed, err := p.do(ctx, daemon, filters)
				if err != nil {
					return err
				}
				if text != "" {
					fmt.Fprintln(a.out, text)
				}
				total += freed
			}
			fmt.Fprintln(a.out, "Total reclaimed space:", format.LongSize(int64(total)))
			return nil
		}),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "Remove all unused images, not just dangling ones")
	opts.Filters(fs, &filters, "", `Prune only what these conditions hold for (e.g. "label=<key>=<value>")`)
	fs.BoolVarP(&force, "force", "f", false, "Do not ask for confirmation")
	fs.BoolVar(&volumes, "volumes", false, "Prune anonymous volumes")
	return cmd
}

// systemWarning says all that system prune is going to remove.
func systemWarning(list []pruning, filters api.Filters) string {
	var b strings.Builder
	b.WriteString("WARNING! This will remove:\n")
	for _, p := range list {
		warning := p.warning
		switch p.what {
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
