package image

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/ref"
)

// found is an image that a user's reference led to.
type found struct {
	target ocispec.Descriptor
	// name is the full name it was found by; "" when it was found by its ID.
	name string
}

// find looks an image up as Docker does: by ID, by name, by name and digest, and at last by the beginning of an ID. The digest
// of an image's configuration is as good as its ID: it is what other engines call an image by, and what clients that build
// print.
func (s *Store) find(reference string) (found, error) { return s.findIn(s.names.snapshot(), reference) }

func (s *Store) findIn(all map[string]record, reference string) (found, error) {
	if id := fullID(reference); id != "" {
		for _, r := range all {
			if r.Target.Digest == id {
				return found{target: r.Target}, nil
			}
		}
		for _, r := range all {
			if slices.ContainsFunc(s.variants(r.Target), func(v variant) bool { return v.manifest != nil && v.manifest.Config.Digest == id }) {
				return found{target: r.Target}, nil
			}
		}
		return found{}, noSuchImage(reference)
	}
	name, err := ref.ParseTagged(reference)
	if err != nil {
		return found{}, err
	}
	if f, ok := findName(all, name); ok {
		return f, nil
	}
	if ref.IsIDPrefix(reference) {
		return findPrefix(all, reference, name)
	}
	return found{}, noSuchImage(name.Familiar())
}

// fullID is the image ID that a reference spells out in full, or "".
func fullID(reference string) digest.Digest {
	if ref.IsHexID(reference) {
		return digest.NewDigestFromEncoded(digest.SHA256, reference)
	}
	if ref.IsHexID(strings.TrimPrefix(reference, "sha256:")) {
		return digest.Digest(reference)
	}
	return ""
}

// findName looks for a name; with a digest the tag does not matter, any name of that repository will do.
func findName(all map[string]record, name ref.Name) (found, bool) {
	if name.Digest == "" {
		r, ok := all[name.String()]
		return found{r.Target, name.String()}, ok
	}
	exact := name.WithDigest(name.Digest).String()
	if r, ok := all[exact]; ok {
		return found{r.Target, exact}, true
	}
	for full, r := range all {
		if r.Target.Digest != name.Digest {
			continue
		}
		if n, err := ref.Parse(full); err == nil && !isDangling(full) && n.Repository() == name.Repository() {
			return found{target: r.Target, name: exact}, true
		}
	}
	return found{}, false
}

func findPrefix(all map[string]record, reference string, name ref.Name) (found, error) {
	prefix := strings.TrimPrefix(reference, "sha256:")
	var hits []ocispec.Descriptor
	for _, r := range all {
		known := slices.ContainsFunc(hits, func(d ocispec.Descriptor) bool { return d.Digest == r.Target.Digest })
		if strings.HasPrefix(r.Target.Digest.Encoded(), prefix) && !known {
			hits = append(hits, r.Target)
		}
	}
	switch len(hits) {
	case 0:
		return found{}, noSuchImage(name.Familiar())
	case 1:
		return found{target: hits[0]}, nil
	}
	return found{}, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("ambiguous reference: %q is the beginning of %d image IDs", reference, len(hits)))
}

func noSuchImage(reference string) error {
	return errdefs.ErrNotFound.WithMessage("No such image: " + reference)
}

// Get looks an image up by name, digest, ID or the beginning of an ID, and chooses what suits platform: nil is this host,
// or whatever is there when nothing suits it. It does not unpack. Unknown ones are errdefs.ErrNotFound.
func (s *Store) Get(ctx context.Context, reference string, platform *ocispec.Platform) (*Image, error) {
	f, err := s.find(reference)
	if err != nil {
		return nil, err
	}
	return s.image(f.target, platform, reference)
}
