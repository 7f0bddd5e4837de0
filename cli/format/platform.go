package format

import ocispec "github.com/opencontainers/image-spec/specs-go/v1"

func ociPlatform(p *Platform) ocispec.Platform {
	return ocispec.Platform{Architecture: p.Architecture, OS: p.OS, Variant: p.Variant}
}
