package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/cove-containers/cove/cli/command"
	"github.com/cove-containers/cove/ref"
	"github.com/spf13/cobra"
)

// tag gives source the further name target.
func tag(ctx context.Context, a *command.App, source, target string) error {
	if !ref.IsIDPrefix(source) {
		if _, err := ref.Parse(source); err != nil {
			return fmt.Errorf("Error parsing reference: %q is not a valid repository/tag: %w", source, err)
		}
	}
	name, err := ref.Parse(target)
	if err != nil {
		return fmt.Errorf("Error parsing reference: %q is not a valid repository/tag: %w", target, err)
	}
	if name.Digest != "" {
		return errors.New("refusing to create a tag with a digest reference")
	}
	daemon, err := a.Client()
	if err != nil {
		return err
	}
	name = name.WithDefaultTag()
	return daemon.ImageTag(ctx, source, name.FamiliarRepository(), name.Tag)
}

func Tag(a *command.App) *cobra.Command {
	return &cobra.Command{
		Use:               "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
		Short:             "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
		Args:              command.Exactly(2),
		Annotations:       command.Aliases("image tag", "tag"),
		ValidArgsFunction: a.CompleteImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			return tag(cmd.Context(), a, args[0], args[1])
		},
	}
}
