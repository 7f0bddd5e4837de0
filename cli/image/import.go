package image

import (
	"context"
	"io"
	"os"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/opts"
	"github.com/cove-containers/cove/client"
	"github.com/cove-containers/cove/ref"
	"github.com/spf13/cobra"
)

func Import(a *command.App) *cobra.Command {
	var o client.ImportOptions
	cmd := &cobra.Command{
		Use:         "import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
		Short:       "Import the contents from a tarball to create a filesystem image",
		Args:        command.AtLeast(1),
		Annotations: command.Aliases("image import", "import"),
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			if len(args) > 1 {
				o.Reference = args[1]
				if _, err := ref.Parse(o.Reference); o.Reference != "" && err != nil {
					return err
				}
			}
			var archive io.Reader
			o.Source = "-"
			switch source := args[0]; {
			case source == "-":
				archive = struct{ io.Reader }{a.In}
			case strings.HasPrefix(source, "http://"), strings.HasPrefix(source, "https://"):
				o.Source = source
			default:
				f, err := os.Open(source)
				if err != nil {
					return err
				}
				defer f.Close()
				archive = struct{ io.Reader }{f}
			}
			return daemon.ImageImport(ctx, archive, o, format.NewProgress(a.Out, a.Stdout).Show)
		}),
	}
	fs := cmd.Flags()
	opts.List(fs, &o.Changes, "change", "c", "Apply this Dockerfile instruction to the created image", nil)
	fs.StringVarP(&o.Message, "message", "m", "", "Set commit message for imported image")
	fs.StringVar(&o.Platform, "platform", "", `Set platform if server is multi-platform capable`)
	return cmd
}
