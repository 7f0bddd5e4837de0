package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
)

// tag gives source the further name target.
func (a *app) tag(ctx context.Context, source, target string) error {
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
	daemon, err := a.client()
	if err != nil {
		return err
	}
	name = name.WithDefaultTag()
	return daemon.ImageTag(ctx, source, name.FamiliarRepository(), name.Tag)
}

// parsePlatform reads one platform, nil for none.
func parsePlatform(s string) (*ocispec.Platform, error) {
	if s == "" {
		return nil, nil
	}
	p, err := oci.ParsePlatform(s)
	return &p, err
}

// wantsField tells whether a template names a field.
func wantsField(layout, field string) bool { return strings.Contains(layout, "."+field) }

// isTableTemplate tells a "table TEMPLATE" from a plain table and from other templates.
func isTableTemplate(layout string) bool {
	return strings.HasPrefix(layout, "table") && layout != "table"
}

func (a *app) imageTag() *cobra.Command {
	return &cobra.Command{
		Use:               "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
		Short:             "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
		Args:              exactly(2),
		Annotations:       aliases("image tag", "tag"),
		ValidArgsFunction: a.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.tag(cmd.Context(), args[0], args[1])
		},
	}
}
