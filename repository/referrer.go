package repository

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// readAhead is how many descriptors are read at once: each may be as large as a manifest.
const readAhead = 16

// Referrers returns the descriptors of the manifests whose subject is d, in the order of their digests, beginning behind
// last: as many as make a document of at most limit bytes. It tells whether there are more. Only those of kind, if one is given.
// What clients listed under the tag that stood in for this call in older registries is among them.
func (s *Store) Referrers(ctx context.Context, name string, d digest.Digest, kind, last string, limit int) (list []ocispec.Descriptor, more bool, err error) {
	if err := check(name, d); err != nil {
		return nil, false, err
	}
	listed, err := s.listedReferrers(ctx, name, d)
	if err != nil {
		return nil, false, err
	}
	digests, _, err := s.page(ctx, referrersPrefix(name, d), "", -1)
	if err != nil {
		return nil, false, err
	}
	for r := range listed {
		digests = append(digests, r.String())
	}
	slices.Sort(digests)
	digests = slices.Compact(digests)
	from, found := slices.BinarySearch(digests, last)
	if found {
		from++
	}
	size := 0
	list = []ocispec.Descriptor{}
	for some := range slices.Chunk(digests[from:], readAhead) {
		all, err := s.referrers(ctx, name, d, some, listed)
		if err != nil {
			return nil, false, err
		}
		for _, r := range all {
			if r == nil || kind != "" && r.ArtifactType != kind {
				continue
			}
			text, err := json.Marshal(r)
			if err != nil {
				return nil, false, err
			}
			if size += len(text) + 1; size > limit && len(list) > 0 {
				return list, true, nil
			}
			list = append(list, *r)
		}
	}
	return list, false, nil
}

// referrers reads the descriptors of some referrers, nil for one that is gone.
func (s *Store) referrers(ctx context.Context, name string, d digest.Digest, digests []string, listed map[digest.Digest]ocispec.Descriptor) ([]*ocispec.Descriptor, error) {
	found := make([]*ocispec.Descriptor, len(digests))
	places := make([]int, len(digests))
	for i := range places {
		places[i] = i
	}
	return found, parallel(ctx, places, func(ctx context.Context, i int) error {
		body, err := s.read(ctx, referrersPrefix(name, d)+digests[i], maxRecord)
		if errdefs.IsNotFound(err) {
			r, ok := listed[digest.Digest(digests[i])]
			if !ok {
				return nil
			}
			there, err := s.exists(ctx, manifestKey(name, r.Digest))
			if there {
				found[i] = &r
			}
			return err
		}
		if err != nil {
			return err
		}
		found[i] = new(ocispec.Descriptor)
		if err := json.Unmarshal(body, found[i]); err != nil {
			return fmt.Errorf("referrer %s of %s: %w: %w", digests[i], d, err, errdefs.ErrDataLoss)
		}
		return nil
	})
}

// listedReferrers reads the index that clients keep under the tag <algorithm>-<hex> where a registry has no referrers.
func (s *Store) listedReferrers(ctx context.Context, name string, d digest.Digest) (map[digest.Digest]ocispec.Descriptor, error) {
	tag := d.Algorithm().String() + "-" + d.Encoded()
	m, err := s.Manifest(ctx, name, tag[:min(len(tag), 128)])
	if errdefs.IsNotFound(err) || err == nil && m.MediaType != ocispec.MediaTypeImageIndex {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	body, err := s.ReadManifest(ctx, name, m)
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(body, &index); err != nil {
		return nil, fmt.Errorf("referrers of %s, listed under %s: %w: %w", d, tag, err, errdefs.ErrDataLoss)
	}
	listed := map[digest.Digest]ocispec.Descriptor{}
	for _, r := range index.Manifests {
		listed[r.Digest] = r
	}
	return listed, nil
}
