package registry

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/spf13/cobra"
)

// usage is what a registry holds. The size of all is less than the sum where repositories share blobs.
type usage struct {
	Repositories []repositoryUsage `json:"repositories"`
	Blobs        int               `json:"blobs"`
	Size         int64             `json:"bytes"`
	Uploads      int               `json:"uploads"`
	UploadSize   int64             `json:"uploadBytes"`
}

type repositoryUsage struct {
	Name      string `json:"name"`
	Tags      int    `json:"tags"`
	Manifests int    `json:"manifests"`
	Blobs     int    `json:"blobs"`
	Size      int64  `json:"bytes"`
}

// usageRow is a repository in the table.
type usageRow struct{ Name, Tags, Manifests, Blobs, Size string }

func Du(a *command.App) *cobra.Command {
	var c calling
	cmd := &cobra.Command{
		Use:               "du [OPTIONS] [REGISTRY]",
		Short:             "Show what the repositories of a Cove registry take up",
		Long:              "Show what the repositories of a Cove registry take up. What several share is counted for each, and once in the total.\nWithout a registry, " + ours + " is meant.",
		Args:              command.AtMost(1),
		ValidArgsFunction: a.CompleteRegistries,
		RunE: func(cmd *cobra.Command, args []string) error {
			var out usage
			if err := c.call(cmd.Context(), a, first(args), http.MethodGet, "_cove/du", &out); err != nil {
				return err
			}
			if c.json {
				return print(a.Out, out)
			}
			rows := make([]usageRow, len(out.Repositories))
			for i, r := range out.Repositories {
				rows[i] = usageRow{r.Name, strconv.Itoa(r.Tags), strconv.Itoa(r.Manifests), strconv.Itoa(r.Blobs), format.LongSize(r.Size)}
			}
			err := format.Write(a.Out, "", format.Table{
				Fields:  []string{"Name", "Tags", "Manifests", "Blobs", "Size"},
				Headers: map[string]string{"Name": "REPOSITORY", "Tags": "TAGS", "Manifests": "MANIFESTS", "Blobs": "BLOBS", "Size": "SIZE"},
			}, rows)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Out, "\nTotal: %s in %d blobs, and %s in %d unfinished uploads\n",
				format.LongSize(out.Size), out.Blobs, format.LongSize(out.UploadSize), out.Uploads)
			return err
		},
	}
	c.add(cmd.Flags())
	return cmd
}
