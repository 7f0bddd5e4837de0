package command

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

// Confirm asks the user; anything but a yes is a no. It ends with ctx.
func (a *App) Confirm(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(a.Out, question, " [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.In).ReadString('\n')
		answer <- line
	}()
	select {
	case line := <-answer:
		return strings.EqualFold(strings.TrimSpace(line), "y"), nil
	case <-ctx.Done():
		fmt.Fprintln(a.Out)
		return false, ctx.Err()
	}
}

// Pruning is one kind of thing that can be pruned.
type Pruning struct {
	What    string // "image", "volume" …
	Warning string
	// Do prunes and gives the list of what has gone and the bytes that has freed.
	Do func(ctx context.Context, daemon *client.Client, f api.Filters) (list string, freed uint64, err error)
	// Sizes tells that the bytes are worth mentioning.
	Sizes bool
}

// PruneCommand makes "prune" of p; all, when it is not nil, is its flag -a.
func (a *App) PruneCommand(short string, all *bool, allUsage string, p func() Pruning) *cobra.Command {
	var force bool
	var filters api.Filters
	cmd := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: short,
		Args:  NoArgs,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			p, filters := p(), a.PruneFilters(filters)
			if !force {
				yes, err := a.Confirm(ctx, "WARNING! This will remove "+p.Warning+".\nAre you sure you want to continue?")
				if err != nil {
					return err
				}
				if !yes {
					return nil
				}
			}
			list, freed, err := p.Do(ctx, daemon, filters)
			if err != nil {
				return err
			}
			if list != "" {
				fmt.Fprintln(a.Out, list)
			}
			if p.Sizes {
				fmt.Fprintln(a.Out, "Total reclaimed space:", format.LongSize(int64(freed)))
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

// PruneFilters gives f with the conditions that the user's configuration adds to every prune, but for those on labels that f says the contrary of.
func (a *App) PruneFilters(f api.Filters) api.Filters {
	contrary := map[string]string{"label": "label!", "label!": "label"}
	for _, condition := range a.ConfigFile().PruneFilters {
		name, value, ok := strings.Cut(condition, "=")
		if ok && !f[contrary[name]][value] {
			f = WithFilter(f, name, value)
		}
	}
	return f
}

// Listing puts a heading over lines; no lines need none.
func Listing(heading string, lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return heading + "\n" + strings.Join(lines, "\n") + "\n"
}

// WithFilter gives a copy of f with one condition more.
func WithFilter(f api.Filters, name, value string) api.Filters {
	out := api.Filters{}
	for n, values := range f {
		for v := range values {
			out.Add(n, v)
		}
	}
	out.Add(name, value)
	return out
}
