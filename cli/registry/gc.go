package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/spf13/cobra"
)

// collected is what a garbage collection removed.
type collected struct {
	Manifests int   `json:"manifests"`
	Links     int   `json:"links"` // blobs taken out of a repository, where others may have them
	Blobs     int   `json:"blobs"`
	Uploads   int   `json:"uploads"`
	Freed     int64 `json:"bytes"`
}

func Gc(a *command.App) *cobra.Command {
	var c calling
	var untagged, dry bool
	cmd := &cobra.Command{
		Use:   "gc [OPTIONS] [REGISTRY]",
		Short: "Remove from a Cove registry what nothing points to",
		Long: "Remove from a Cove registry what nothing points to, once it has been so for the registry's grace time. Pushes go on meanwhile.\n" +
			"Without a registry, " + ours + " is meant.",
		Args:              command.AtMost(1),
		ValidArgsFunction: a.CompleteRegistries,
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if untagged {
				query.Set("untagged", "true")
			}
			if dry {
				query.Set("dry-run", "true")
			}
			var out collected
			if err := c.call(cmd.Context(), a, first(args), http.MethodPost, "_cove/gc?"+query.Encode(), &out); err != nil {
				return err
			}
			if c.json {
				return print(a.Out, out)
			}
			verb := "Removed"
			if dry {
				verb = "Would remove"
			}
			_, err := fmt.Fprintf(a.Out, "%s %d manifests, %d blobs and %d unfinished uploads.\nTotal reclaimed space: %s\n",
				verb, out.Manifests, out.Blobs, out.Uploads, format.LongSize(out.Freed))
			return err
		},
	}
	c.add(cmd.Flags())
	cmd.Flags().BoolVar(&untagged, "untagged", false, "Remove manifests that no tag leads to as well")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "Only tell what would be removed")
	return cmd
}

// maxAnswer bounds what a registry may say of itself.
const maxAnswer = 64 << 20

// call makes a call that only Cove's registries know, and reads its answer.
func (c *calling) call(ctx context.Context, a *command.App, arg, method, path string, answer any) error {
	name, err := split(arg)
	if err != nil {
		return err
	}
	if name.Path != "" {
		return fmt.Errorf("%s: want a registry, HOST[:PORT], without a repository", arg)
	}
	client, session, err := c.reach(a, name.Host)
	if err != nil {
		return err
	}
	defer client.Close()
	resp, err := client.Ask(ctx, name.Host, method, path, session)
	if err != nil {
		return fmt.Errorf("%s: %w", name.Host, err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(answer); err != nil {
		return fmt.Errorf("%s: read answer: %w", name.Host, err)
	}
	return nil
}
