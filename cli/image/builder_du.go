package image

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/moby/moby/api/types/build"
	"github.com/spf13/cobra"
)

func BuilderDu(a *command.App) *cobra.Command {
	var verbose bool
	var filters api.Filters
	cmd := &cobra.Command{
		Use:   "du [OPTIONS]",
		Short: "Show what the build cache takes on disk",
		Args:  command.NoArgs,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			if err := filters.Check("id", "parent", "type", "description", "inuse", "shared", "private", "mutable", "immutable"); err != nil {
				return err
			}
			records, err := daemon.BuildCache(ctx)
			if err != nil {
				return err
			}
			list := cacheMatching(records, filters)
			if verbose {
				return cacheInFull(a.Out, list, time.Now())
			}
			return cacheTable(a.Out, list, len(filters) == 0, time.Now())
		}),
	}
	opts.Filters(cmd.Flags(), &filters, "", `Show only what these conditions hold for (e.g. "type=regular")`)
	cmd.Flags().BoolVar(&verbose, "verbose", false, "Provide a more verbose output")
	return cmd
}

// cacheMatching are the records that all conditions hold for.
func cacheMatching(records []build.CacheRecord, f api.Filters) []build.CacheRecord {
	id, kind := f.Matcher("id"), f.Matcher("type")
	var list []build.CacheRecord
	for _, r := range records {
		mutable := r.Type == "exec.cachemount" || r.Type == "source.local"
		if id(r.ID) && kind(r.Type) && yes(f, "inuse", r.InUse) && yes(f, "shared", r.Shared) && yes(f, "private", !r.Shared) &&
			yes(f, "mutable", mutable) && yes(f, "immutable", !mutable) && oneOf(f, "parent", r.Parents...) &&
			oneOf(f, "description", r.Description) {
			list = append(list, r)
		}
	}
	return list
}

// yes tells whether the condition called name, which wants a yes when nothing else is said, agrees with what is.
func yes(f api.Filters, name string, is bool) bool {
	want, err := f.Bool(name, true)
	return !f.Has(name) || err == nil && want == is
}

// oneOf tells whether one of values is what the condition called name asks for.
func oneOf(f api.Filters, name string, values ...string) bool {
	return !f.Has(name) || slices.ContainsFunc(values, func(v string) bool { return f.Exact(name, v) })
}

func cacheTable(out io.Writer, records []build.CacheRecord, summary bool, now time.Time) error {
	w := tabwriter.NewWriter(out, 1, 8, 1, '\t', 0)
	fmt.Fprintln(w, "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED")
	for _, r := range records {
		last := ""
		if r.LastUsedAt != nil {
			last = format.Ago(now, *r.LastUsedAt)
		}
		fmt.Fprintf(w, "%s\t%t\t%s\t%s\n", r.ID, !r.InUse, cacheSize(r), last)
	}
	if summary {
		cacheSums(w, records)
	}
	return w.Flush()
}

// cacheSize is marked when other records, or images, stand on the same files.
func cacheSize(r build.CacheRecord) string {
	if r.Shared {
		return format.LongSize(r.Size) + "*"
	}
	return format.LongSize(r.Size)
}

func cacheSums(w io.Writer, records []build.CacheRecord) {
	var shared, private, reclaimable, total int64
	for _, r := range records {
		total += r.Size
		if r.Shared {
			shared += r.Size
		} else {
			private += r.Size
		}
		if !r.InUse {
			reclaimable += r.Size
		}
	}
	if shared > 0 {
		fmt.Fprintf(w, "Shared:\t%s\nPrivate:\t%s\n", format.LongSize(shared), format.LongSize(private))
	}
	fmt.Fprintf(w, "Reclaimable:\t%s\nTotal:\t%s\n", format.LongSize(reclaimable), format.LongSize(total))
}

func cacheInFull(out io.Writer, records []build.CacheRecord, now time.Time) error {
	w := tabwriter.NewWriter(out, 1, 8, 1, '\t', 0)
	for _, r := range records {
		fmt.Fprintf(w, "ID:\t%s\n", r.ID)
		if len(r.Parents) > 0 {
			fmt.Fprintf(w, "Parent:\t%s\n", strings.Join(r.Parents, ","))
		}
		fmt.Fprintf(w, "Created at:\t%v\nReclaimable:\t%t\nShared:\t%t\nSize:\t%s\n", r.CreatedAt, !r.InUse, r.Shared, format.LongSize(r.Size))
		if r.Description != "" {
			fmt.Fprintf(w, "Description:\t%s\n", r.Description)
		}
		fmt.Fprintf(w, "Usage count:\t%d\n", r.UsageCount)
		if r.LastUsedAt != nil {
			fmt.Fprintf(w, "Last used:\t%s\n", format.Ago(now, *r.LastUsedAt))
		}
		fmt.Fprintf(w, "Type:\t%s\n\n", r.Type)
	}
	return w.Flush()
}
