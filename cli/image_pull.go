package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cove-containers/cove/cli/config"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
	"github.com/moby/moby/api/types/registry"
	"github.com/spf13/cobra"
)

func (a *app) imagePull() *cobra.Command {
	var all, quiet bool
	var platform string
	cmd := &cobra.Command{
		Use:               "pull [OPTIONS] NAME[:TAG|@DIGEST]",
		Short:             "Download an image from a registry",
		Args:              exactly(1),
		Annotations:       aliases("image pull", "pull"),
		ValidArgsFunction: a.completeImages,
		RunE: a.call(func(ctx context.Context, daemon *client.Client, args []string) error {
			name, err := ref.Parse(args[0])
			if err != nil {
				return err
			}
			bare := name.Tag == "" && name.Digest == ""
			switch {
			case all && !bare:
				return errors.New("tag can't be used with --all-tags/-a")
			case !all && bare:
				name = name.WithDefaultTag()
				if !quiet {
					fmt.Fprintln(a.out, "Using default tag:", name.Tag)
				}
			}
			out, file := a.out, a.stdout
			if quiet {
				out, file = io.Discard, nil
			}
			if err := a.pullName(ctx, daemon, name, platform, format.NewProgress(out, file)); err != nil {
				return err
			}
			fmt.Fprintln(a.out, name.String())
			return nil
		}),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all-tags", "a", false, "Download all tagged images in the repository")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Print only the name of the image")
	fs.StringVar(&platform, "platform", config.FirstEnv("COVE_DEFAULT_PLATFORM", "DOCKER_DEFAULT_PLATFORM"), "Platform of the image, when it has several")
	fs.Bool("disable-content-trust", true, "Skip image verification (deprecated)")
	fs.Lookup("disable-content-trust").Hidden = true
	return cmd
}

// pull fetches the image that create and run need, with its progress on standard error.
func (a *app) pull(ctx context.Context, daemon *client.Client, image, platform string, quiet bool) error {
	name, err := ref.ParseTagged(image)
	if err != nil {
		return err
	}
	p := format.NewProgress(a.err, os.Stderr)
	if quiet {
		p = format.NewProgress(io.Discard, nil)
	}
	return a.pullName(ctx, daemon, name, platform, p)
}

func (a *app) pullName(ctx context.Context, daemon *client.Client, name ref.Name, platform string, p *format.Progress) error {
	if platform != "" {
		if _, err := oci.ParsePlatform(platform); err != nil {
			return err
		}
	}
	auth, err := a.registryAuth(name.Host)
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

// registryAuth gives the credentials for a registry host as the API takes them, "" when there are none.
func (a *app) registryAuth(host string) (string, error) {
	auth, err := a.configFile().Auth(config.Key(host))
	if err != nil {
		return "", err
	}
	if auth.Username == "" && auth.IdentityToken == "" && auth.RegistryToken == "" {
		return "", nil
	}
	return encodeAuth(auth)
}

func encodeAuth(auth registry.AuthConfig) (string, error) {
	raw, err := json.Marshal(auth)
	return base64.URLEncoding.EncodeToString(raw), err
}
