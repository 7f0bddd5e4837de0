package manifest

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
	digest "github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// parallel is how many blobs are taken over at once.
const parallel = 8

func Push(a *command.App) *cobra.Command {
	var insecure, purge bool
	cmd := &cobra.Command{
		Use:               "push [OPTIONS] MANIFEST_LIST",
		Short:             "Push a manifest list to a repository",
		Args:              command.Exactly(1),
		ValidArgsFunction: complete(a),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := parse(args[0])
			if err != nil {
				return err
			}
			entries, err := lists(a).list(target)
			if err != nil {
				return err
			}
			if err := push(cmd.Context(), a, target, entries, insecure); err != nil {
				return err
			}
			if purge {
				return lists(a).remove(target)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&insecure, "insecure", false, "Allow push to an insecure registry")
	cmd.Flags().BoolVarP(&purge, "purge", "p", false, "Remove the local manifest list after push")
	return cmd
}

// push has every manifest in the list's repository, and then the list.
func push(ctx context.Context, a *command.App, target ref.Name, entries []entry, insecure bool) error {
	mediaType, text, err := listOf(target, entries, true)
	if err != nil {
		return err
	}
	d, err := open(a, target, insecure)
	if err != nil {
		return err
	}
	defer d.close()
	for _, e := range entries {
		name, err := ref.Parse(e.Ref)
		if err != nil {
			return err
		}
		if name.Path == target.Path {
			continue
		}
		if err := d.takeOver(ctx, target, name, e); err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "Pushed ref %s with digest: %s\n", target.WithDigest(e.Descriptor.Digest), e.Descriptor.Digest)
	}
	if err := d.client.PutManifest(ctx, target, mediaType, text, d.session); err != nil {
		return err
	}
	fmt.Fprintln(a.Out, digest.FromBytes(text))
	return nil
}

// takeOver has a manifest of another repository of the registry, with its blobs, in that of target.
func (d *door) takeOver(ctx context.Context, target, from ref.Name, e entry) error {
	blobs, err := e.blobs()
	if err != nil {
		return err
	}
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, desc := range blobs {
		group.Go(func() error {
			_, err := d.client.PutBlob(within, target, remote.Upload{Desc: desc, From: []string{from.Path}}, d.session)
			if errdefs.IsNotFound(err) {
				if p := e.Descriptor.Platform; p != nil && p.OS == "windows" {
					return nil // its base layers are nowhere but with their maker
				}
				return fmt.Errorf("error mounting %s to %s: %w", from.WithDigest(desc.Digest), target, err)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	text, err := e.document()
	if err != nil {
		return err
	}
	if digest.FromBytes(text) != e.Descriptor.Digest {
		return fmt.Errorf("manifest of %s has changed on disk: %w", e.Ref, errdefs.ErrFailedPrecondition)
	}
	return d.client.PutManifest(ctx, target.WithDigest(e.Descriptor.Digest), e.Descriptor.MediaType, text, d.session)
}
