package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/cli/format"
	"github.com/cove-containers/cove/client"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
	"github.com/moby/moby/api/types/auxprogress"
	"github.com/moby/moby/api/types/jsonstream"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
)

func Push(a *command.App) *cobra.Command {
	var all, quiet bool
	var platform string
	cmd := &cobra.Command{
		Use:               "push [OPTIONS] NAME[:TAG]",
		Short:             "Upload an image to a registry",
		Args:              command.Exactly(1),
		Annotations:       command.Aliases("image push", "push"),
		ValidArgsFunction: a.CompleteImages,
		RunE: a.Call(func(ctx context.Context, daemon *client.Client, args []string) error {
			name, err := nameOrAll(a, args[0], all, quiet)
			if err != nil {
				return err
			}
			return push(ctx, a, daemon, name, platform, quiet)
		}),
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all-tags", "a", false, "Push all tags of an image to the repository")
	fs.BoolVarP(&quiet, "quiet", "q", false, "Print only the name of the image")
	fs.StringVar(&platform, "platform", "", `Push only the manifest for this platform, "os[/arch[/variant]]" (e.g., "linux/amd64"), without its index`)
	fs.Bool("disable-content-trust", true, "Skip image signing (deprecated)")
	fs.Lookup("disable-content-trust").Hidden = true
	return cmd
}

func push(ctx context.Context, a *command.App, daemon *client.Client, name ref.Name, platform string, quiet bool) error {
	var wanted *ocispec.Platform
	if platform != "" {
		p, err := oci.ParsePlatform(platform)
		if err != nil {
			return err
		}
		wanted = &p
	}
	auth, err := a.RegistryAuth(name.Host)
	if err != nil {
		return err
	}
	p := format.NewProgress(a.Out, a.Stdout)
	if quiet {
		p = format.NewProgress(io.Discard, nil)
	}
	tag := name.Tag
	if name.Digest != "" {
		tag = name.Digest.String()
	}
	var notes []string
	o := client.PushOptions{Repository: name.FamiliarRepository(), Tag: tag, Platform: wanted, Auth: auth}
	err = daemon.ImagePush(ctx, o, func(m jsonstream.Message) error {
		if m.Aux != nil {
			notes = append(notes, noteOf(*m.Aux)...)
		}
		return p.Show(m)
	})
	for _, note := range notes {
		fmt.Fprintln(a.Err, note)
	}
	if err == nil && quiet {
		fmt.Fprintln(a.Out, name.String())
	}
	return err
}

// noteOf puts into words what the daemon says of an image for several platforms.
func noteOf(raw json.RawMessage) []string {
	var instead auxprogress.ManifestPushedInsteadOfIndex
	if json.Unmarshal(raw, &instead) == nil && instead.ManifestPushedInsteadOfIndex {
		return []string{fmt.Sprintf("Note: not all of the image for several platforms is here, so only the manifest of one went out: %s instead of %s", instead.SelectedManifest.Digest, instead.OriginalIndex.Digest)}
	}
	var missing auxprogress.ContentMissing
	if json.Unmarshal(raw, &missing) == nil && missing.ContentMissing {
		return []string{"Note: the image is for several platforms, and what some of them need is neither here nor in the registry.\nPull those platforms, or push one with --platform."}
	}
	return nil
}
