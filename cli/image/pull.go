package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
	"github.com/spf13/cobra"
)

func Pull(a *command.App) *cobra.Command {
	var all, quiet bool
	var platform string
	cmd := &cobra.Command{
		Use:               "pull [OPTIONS] NAME[:TAG|@DIGEST]",
		Short:             "Download an image from a registry",
		Args:              command.Exactly(1),
		Annotations:       command.Aliases("image pull", "pull"),
		ValidArgsFunction: a.CompleteImages,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			name, err := nameOrAll(a, args[0], all, quiet)
			if err != nil {
				return err
			}
			out, file := a.Out, a.Stdout
			if quiet {
				out, file = io.Discard, nil
			}
			if err := pullName(ctx, a, daemon, name, platform, format.NewProgress(out, file)); err != nil {
				return err
			}
			fmt.Fprintln(a.Out, name.String())
			return nil
		}),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all-tags", "a", false, "Download all tagged images in the repository")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Print only the name of the image")
	fs.StringVar(&platform, "platform", command.DefaultPlatform(), "Platform of the image, when it has several")
	fs.Bool("disable-content-trust", true, "Skip image verification (deprecated)")
	fs.Lookup("disable-content-trust").Hidden = true
	return cmd
}

// Fetch pulls the image that create and run need, with its progress on standard error.
func Fetch(ctx context.Context, a *command.App, daemon *client.Client, image, platform string, quiet bool) error {
	name, err := ref.ParseTagged(image)
	if err != nil {
		return err
	}
	p := format.NewProgress(a.Err, os.Stderr)
	if quiet {
		p = format.NewProgress(io.Discard, nil)
	}
	return pullName(ctx, a, daemon, name, platform, p)
}

func pullName(ctx context.Context, a *command.App, daemon *client.Client, name ref.Name, platform string, p *format.Progress) error {
	if platform != "" {
		if _, err := oci.ParsePlatform(platform); err != nil {
			return err
		}
	}
	auth, err := a.RegistryAuth(name.Host)
	if err != nil {
		return err
	}
	tag := name.Tag
	if name.Digest != "" {
		tag = name.Digest.String()
	}
	o := client.PullOptions{Repository: name.FamiliarRepository(), Tag: tag, Platform: platform, Auth: auth}
	return daemon.ImagePull(ctx, o, p.Show)
}

// nameOrAll is the image that a pull or a push is of: of a repository without a tag all tags if asked for, else the usual one.
func nameOrAll(a *command.App, text string, all, quiet bool) (ref.Name, error) {
	name, err := ref.Parse(text)
	if err != nil {
		return name, err
	}
	bare := name.Tag == "" && name.Digest == ""
	switch {
	case all && !bare:
		return name, errors.New("tag can't be used with --all-tags/-a")
	case !all && bare:
		name = name.WithDefaultTag()
		if !quiet {
			fmt.Fprintln(a.Out, "Using default tag:", name.Tag)
		}
	}
	return name, nil
}
