package image

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	it "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/image/progress"
	"github.com/cove-containers/cove/oci"
)

// removePlatforms takes what single platforms have out of an image for several. Its names stay, and pulling brings back what
// was taken. A platform that containers use, that another image has too, or that is the last one here stays: errdefs.ErrConflict.
func (s *Store) removePlatforms(ctx context.Context, reference string, platforms []ocispec.Platform) ([]it.DeleteResponse, error) {
	f, err := s.find(reference)
	if err != nil {
		return nil, err
	}
	s.sweeping.Lock()
	gone, err := s.dropVariants(f, reference, platforms)
	s.sweeping.Unlock()
	if err != nil {
		return nil, err
	}
	out := []it.DeleteResponse{}
	for _, v := range gone {
		out = append(out, it.DeleteResponse{Deleted: v.desc.Digest.String()})
	}
	s.sweepQuietly(ctx)
	return out, nil
}

// dropVariants deletes the manifests of the platforms; whatever only they led to is swept afterwards.
func (s *Store) dropVariants(f found, reference string, platforms []ocispec.Platform) ([]variant, error) {
	all := s.variants(f.target)
	drop := map[digest.Digest]bool{}
	for _, p := range platforms {
		i := slices.IndexFunc(all, func(v variant) bool { return v.usable() && oci.Rank(p, v.platform()) == 0 })
		if i < 0 {
			return nil, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("image with reference %s was found but does not provide the specified platform (%s)", reference, oci.FormatPlatform(p)))
		}
		drop[all[i].desc.Digest] = true
	}
	if err := s.refuseDrop(f, all, drop); err != nil {
		return nil, err
	}
	var gone []variant
	for _, v := range all {
		about := digest.Digest(v.desc.Annotations[oci.AttestationFor])
		if !drop[v.desc.Digest] && !(v.attestation && v.manifest != nil && drop[about]) {
			continue
		}
		err := s.leases.UnlessHeld(v.desc.Digest, func() error {
			gone = append(gone, v)
			return s.blobs.Delete(v.desc.Digest)
		})
		if err != nil {
			return nil, fmt.Errorf("remove %s: %w", v.desc.Digest, err)
		}
	}
	return gone, nil
}

func (s *Store) refuseDrop(f found, all []variant, drop map[digest.Digest]bool) error {
	refuse := func(format string, args ...any) error {
		text := fmt.Sprintf("conflict: unable to delete %s (cannot be forced) - ", progress.ShortID(f.target.Digest))
		return errdefs.ErrConflict.WithMessage(text + fmt.Sprintf(format, args...))
	}
	for _, u := range s.usersOf(f.target.Digest) {
		if drop[u.Manifest] {
			how := "stopped"
			if u.Running {
				how = "running"
			}
			return refuse("image is being used by %s container %s", how, u.ID[:min(12, len(u.ID))])
		}
	}
	if !slices.ContainsFunc(all, func(v variant) bool { return v.usable() && !drop[v.desc.Digest] }) {
		return refuse("it has no other platform: remove the image")
	}
	others := reach{}
	for _, r := range s.names.snapshot() {
		if r.Target.Digest != f.target.Digest {
			s.mark(others, r.Target)
		}
	}
	for d := range drop {
		if others[d] || s.isHeld(d) {
			return refuse("%s belongs to another image too", strings.TrimPrefix(d.String(), "sha256:")[:12])
		}
	}
	return nil
}
