package repository

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Referrers returns the descriptors of the manifests whose subject is d, in the order of their digests, beginning behind
// last: as many as make a document of at most limit bytes. It tells whether there are more. Only those of kind, if one is given.
// What clients listed under the tag that stood in for this call in older registries is among them.
func (s *Store) Referrers(ctx context.Context, name string, d digest.Digest, kind, last string, limit int) (list []ocispec.Descriptor, more bool, err error) {
	if err := check(name, d); err != nil {
		return nil, false, err
	}
	all, err := s.referrers(ctx, name, d)
	if err != nil {
		return nil, false, err
	}
	size := 0
	list = []ocispec.Descriptor{}
	for _, r := range all {
		if kind != "" && r.ArtifactType != kind || last != "" && r.Digest.String() <= last {
			continue
		}
		text, err := json.Marshal(r)
		if err != nil {
			return nil, false, err
		}
		if size += len(text) + 1; size > limit && len(list) > 0 {
			return list, true, nil
		}
		list = append(list, r)
	}
	return list, false, nil
}

func (s *Store) referrers(ctx context.Context, name string, d digest.Digest) ([]ocispec.Descriptor, error) {
	digests, _, err := s.page(ctx, referrersPrefix(name, d), "", -1)
	if err != nil {
		return nil, err
	}
	found := make([]*ocispec.Descriptor, len(digests))
	places := make([]int, len(digests))
	for i := range places {
		places[i] = i
	}
	err = parallel(ctx, places, func(ctx context.Context, i int) error {
		body, err := s.read(ctx, referrersPrefix(name, d)+digests[i], maxRecord)
		if errdefs.IsNotFound(err) {
			return nil
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
	if err != nil {
		return nil, err
	}
	var all []ocispec.Descriptor
	seen := map[digest.Digest]bool{}
	for _, r := range found {
		if r != nil {
			all = append(all, *r)
			seen[r.Digest] = true
		}
	}
	listed, err := s.listedReferrers(ctx, name, d)
	if err != nil {
		return nil, err
	}
	for _, r := range listed {
		if there, err := s.exists(ctx, manifestKey(name, r.Digest)); err != nil {
			return nil, err
		} else if there && !seen[r.Digest] {
			all = append(all, r)
			seen[r.Digest] = true
		}
	}
	slices.SortFunc(all, func(a, b ocispec.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	return all, nil
}

// listedReferrers reads the index that clients keep under the tag <algorithm>-<hex> where a registry has no referrers.
func (s *Store) listedReferrers(ctx context.Context, name string, d digest.Digest) ([]ocispec.Descriptor, error) {
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
	err = json.Unmarshal(body, &index)
	return index.Manifests, err
}
