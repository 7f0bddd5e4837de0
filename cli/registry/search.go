package registry

import (
	"context"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Search(a *command.App) *cobra.Command {
	var o client.SearchOptions
	var layout string
	var noTrunc bool
	cmd := &cobra.Command{
		Use:   "search [OPTIONS] TERM",
		Short: "Search Docker Hub for images",
		Long: "Search Docker Hub for images.\n" +
			"A term that begins with a registry (\"registry.example.com/app\") is searched for there.",
		Args: command.Exactly(1),
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) (err error) {
			host, _, ok := strings.Cut(args[0], "/")
			if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
				host = ""
			}
			if o.Auth, err = a.RegistryAuth(host); err != nil {
				return err
			}
			list, err := daemon.ImageSearch(ctx, args[0], o)
			if err != nil {
				return err
			}
			return format.Write(a.Out, layout, format.SearchTable(), format.Searches(list, !noTrunc))
		}),
	}
	fs := cmd.Flags()
	opts.Filters(fs, &o.Filters, "f", `Show only what these conditions hold for (e.g. "is-official=true")`)
	fs.StringVar(&layout, "format", "", command.FormatUsage)
	fs.IntVar(&o.Limit, "limit", 0, "Show at most so many (default 25, at most 100)")
	fs.BoolVar(&noTrunc, "no-trunc", false, "Don't truncate output")
	return cmd
}
