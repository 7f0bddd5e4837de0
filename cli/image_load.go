package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/cli/terminal"
	"github.com/cove-containers/cove/client"
	"github.com/cove-containers/cove/oci"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
)

func (a *app) imageLoad() *cobra.Command {
	var input string
	var platforms []string
	var quiet bool
	cmd := &cobra.Command{
		Use:         "load [OPTIONS]",
		Short:       "Load an image from a tar archive or STDIN",
		Args:        noArgs,
		Annotations: aliases("image load", "load"),
		RunE: a.call(func(ctx context.Context, daemon *client.Client, _ []string) error {
			archive := a.in
			if input != "" {
				f, err := os.Open(input)
				if err != nil {
					return err
				}
				defer f.Close()
				archive = f
			} else if terminal.Is(a.in) {
				return errors.New("requested load from stdin, but stdin is empty")
			}
			wanted, err := parsePlatforms(platforms)
			if err != nil {
				return err
			}
			p := format.NewProgress(a.out, a.stdout)
			return daemon.ImageLoad(ctx, struct{ io.Reader }{archive}, quiet || !p.OnTerminal(), wanted, p.Show)
		}),
	}
	fs := cmd.Flags()
	fs.StringVarP(&input, "input", "i", "", "Read from this tar archive instead of STDIN")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Say nothing of the progress")
	fs.StringSliceVar(&platforms, "platform", nil, `Load only these platforms, "os[/arch[/variant]]" (e.g., "linux/amd64")`)
	return cmd
}

func parsePlatforms(list []string) ([]ocispec.Platform, error) {
	var out []ocispec.Platform
	for _, s := range list {
		p, err := oci.ParsePlatform(s)
		if err != nil {
			return nil, fmt.Errorf("invalid platform: %w", err)
		}
		out = append(out, p)
	}
	return out, nil
}
