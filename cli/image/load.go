package image

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/terminal"
	"github.com/cove-containers/cove/client"
	"github.com/spf13/cobra"
)

func Load(a *command.App) *cobra.Command {
	var input string
	var platforms []string
	var quiet bool
	cmd := &cobra.Command{
		Use:         "load [OPTIONS]",
		Short:       "Load an image from a tar archive or STDIN",
		Args:        command.NoArgs,
		Annotations: command.Aliases("image load", "load"),
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			archive := a.In
			if input != "" {
				f, err := os.Open(input)
				if err != nil {
					return err
				}
				defer f.Close()
				archive = f
			} else if terminal.Is(a.In) {
				return errors.New("requested load from stdin, but stdin is empty")
			}
			wanted, err := parsePlatforms(platforms)
			if err != nil {
				return err
			}
			p := format.NewProgress(a.Out, a.Stdout)
			return daemon.ImageLoad(ctx, struct{ io.Reader }{archive}, quiet || !p.OnTerminal(), wanted, p.Show)
		}),
	}
	fs := cmd.Flags()
	fs.StringVarP(&input, "input", "i", "", "Read from this tar archive instead of STDIN")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Say nothing of the progress")
	fs.StringSliceVar(&platforms, "platform", nil, `Load only these platforms, "os[/arch[/variant]]" (e.g., "linux/amd64")`)
	return cmd
}
