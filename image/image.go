// Package image keeps images: names that point to what a registry or an archive delivered, byte for byte. It pulls,
// loads, saves, lists, tags and removes them, and knows what nobody needs any more.
//
// Documents and compressed layers are blobs; trees of files are the layer keeper's. The database holds
//
//	images         name → what it points to. A name is "docker.io/library/alpine:3.20", "host/path@sha256:…" for what
//	               was pulled by digest, or "sha256:…" for an image that has lost its names
//	image-layers   diff ID → the blobs that unpack to it
//	image-pulls    reference → what an unfinished pull has fetched so far, so that the next one continues
//
// and what push remembers.
//
// A name is written last, when everything it points to is there, verified and durable; it is removed first. So
// whatever moment the power goes, a name is good, and what no name reaches is swept.
package image

import (
	"time"

	js "github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/remote"
)

// Image is an image as one platform sees it. It is a snapshot; changing it changes nothing.
type Image struct {
	// ID is the digest of what the name points to, an index or a manifest.
	ID     digest.Digest
	Target ocispec.Descriptor
	// Manifest is the one for the chosen platform; its digest equals ID when the image has only one.
	Manifest ocispec.Descriptor
	Config   oci.Image
	// DiffIDs and Layers run in step, lowest first.
	DiffIDs []digest.Digest
	Layers  []ocispec.Descriptor
	// RepoTags and RepoDigests are all names of this ID, in the short form users know.
	RepoTags, RepoDigests []string
	// Size is what the image takes on disk: its blobs and unpacked layers.
	Size int64
	// LastTagged is when it last got a name here.
	LastTagged time.Time
}

// Platform is what the image's config says it runs on.
func (i *Image) Platform() ocispec.Platform { return i.Config.Platform }

// Name is the first tag of the image, else its first digest reference, else its ID: for messages.
func (i *Image) Name() string {
	switch {
	case len(i.RepoTags) > 0:
		return i.RepoTags[0]
	case len(i.RepoDigests) > 0:
		return i.RepoDigests[0]
	}
	return i.ID.String()
}

// User is a container that was made from an image.
type User struct {
	// ID of the container.
	ID string
	// Image is the ID of its image, Manifest the digest of the manifest it runs.
	Image, Manifest digest.Digest
	Running         bool
}

// PullOptions tells how Pull works.
type PullOptions struct {
	Platform    *ocispec.Platform // nil: this host's
	Credentials remote.Credentials
	// Origin, when set, is asked in place of the registry.
	Origin Origin
	// AllTags pulls every tag of the repository.
	AllTags bool
	// Progress, when set, gets what dockerd would stream to the client; it is called by one goroutine at a time.
	Progress func(js.Message)
}

// LoadOptions tells how Load works.
type LoadOptions struct {
	Platforms []ocispec.Platform // each must be there; none: whatever the archive has
	// Quiet leaves out the progress of layers.
	Quiet    bool
	Progress func(js.Message)
}

// ListOptions chooses what List returns and how much it finds out.
type ListOptions struct {
	All                   bool
	Filters               api.Filters
	Manifests, SharedSize bool
}

// RemoveOptions tells how Remove works.
type RemoveOptions struct {
	Force         bool
	PruneChildren bool
	// Platforms, when there are some, are all that is removed of the image.
	Platforms []ocispec.Platform
}
