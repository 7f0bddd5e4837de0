package image

import (
	"fmt"

	"github.com/cove-containers/cove/oci"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

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

// parsePlatform reads one platform, nil for none.
func parsePlatform(s string) (*ocispec.Platform, error) {
	if s == "" {
		return nil, nil
	}
	p, err := oci.ParsePlatform(s)
	return &p, err
}
