package oci

import (
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Docker's media types beside OCI's.
const (
	DockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	DockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig       = "application/vnd.docker.container.image.v1+json"
	DockerLayer        = "application/vnd.docker.image.rootfs.diff.tar"

	// Schema1 is the media type of the format that is refused.
	Schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// Accepted are the media types asked of a registry, in order of preference.
func Accepted() []string {
	return []string{ocispec.MediaTypeImageIndex, DockerManifestList, ocispec.MediaTypeImageManifest, DockerManifest}
}

// IsIndex tells whether mediaType is an index or manifest list.
func IsIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == DockerManifestList
}

// IsManifest tells whether mediaType is a manifest of one platform.
func IsManifest(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == DockerManifest
}

// IsDocument is IsIndex or IsManifest.
func IsDocument(mediaType string) bool { return IsIndex(mediaType) || IsManifest(mediaType) }

// IsConfig tells whether mediaType is the config of a container image, and not of some other artifact.
func IsConfig(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageConfig || mediaType == DockerConfig
}

// IsLayer tells whether mediaType is a file system layer: a tar, however compressed.
func IsLayer(mediaType string) bool {
	for _, prefix := range []string{"application/vnd.oci.image.layer.", DockerLayer, "application/vnd.docker.image.rootfs.foreign.diff.tar"} {
		if strings.HasPrefix(mediaType, prefix) {
			return true
		}
	}
	return false
}

// IsForeign tells whether mediaType is a layer that must not be copied from registry to registry.
func IsForeign(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.nondistributable.") ||
		strings.HasPrefix(mediaType, "application/vnd.docker.image.rootfs.foreign.")
}

func isSchema1(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.docker.distribution.manifest.v1+")
}

// BuildKit's marks on the manifests that say how an image was built.
const (
	attestationKind = "vnd.docker.reference.type"
	// AttestationFor is the annotation that names the manifest an attestation speaks of.
	AttestationFor = "vnd.docker.reference.digest"
)

// IsAttestation tells whether an entry of an index holds statements about an image instead of an image.
func IsAttestation(d ocispec.Descriptor) bool {
	if d.Annotations[attestationKind] == "attestation-manifest" {
		return true
	}
	return d.Platform != nil && d.Platform.OS == "unknown" && d.Platform.Architecture == "unknown"
}

// LayerType is OCI's name for the media type of a layer, also where Docker has one of its own.
func LayerType(mediaType string) string {
	switch mediaType {
	case DockerLayer:
		return ocispec.MediaTypeImageLayer
	case DockerLayer + ".gzip":
		return ocispec.MediaTypeImageLayerGzip
	case DockerLayer + ".zstd":
		return ocispec.MediaTypeImageLayerZstd
	}
	return mediaType
}
