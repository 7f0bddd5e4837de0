package image

import (
	"cmp"
	"context"
	"slices"
	"time"

	it "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/oci"
)

// List returns the images, newest first, one entry for each ID. Filters: before, since, dangling, label, label!, reference, until.
func (s *Store) List(ctx context.Context, o ListOptions) ([]it.Summary, error) {
	want, err := s.filter(o.Filters)
	if err != nil {
		return nil, err
	}
	out := []it.Summary{}
	shared := map[digest.Digest]int{}
	var shown []*Image
	users := s.usersByImage()
	for _, img := range s.every() {
		tags, digests, ok := want.match(img)
		if o.SharedSize {
			for _, d := range slices.Compact(slices.Sorted(slices.Values(img.DiffIDs))) {
				shared[d]++
			}
		}
		if !ok {
			continue
		}
		summary := summary(img, len(users[img.ID]))
		summary.RepoTags, summary.RepoDigests = tags, digests
		if o.Manifests {
			summary.Manifests = s.manifests(img, users[img.ID])
		}
		out, shown = append(out, summary), append(shown, img)
	}
	if o.SharedSize {
		for i, img := range shown {
			out[i].SharedSize = 0
			for _, d := range slices.Compact(slices.Sorted(slices.Values(img.DiffIDs))) {
				if shared[d] > 1 {
					out[i].SharedSize += s.layers.Size(d)
				}
			}
		}
	}
	return out, nil
}

// every returns all images, newest first. What cannot be read is left out.
func (s *Store) every() []*Image {
	seen := map[digest.Digest]bool{}
	var out []*Image
	for _, r := range s.names.snapshot() {
		if seen[r.Target.Digest] {
			continue
		}
		seen[r.Target.Digest] = true
		if img, err := s.image(r.Target, nil, r.Target.Digest.String()); err == nil {
			out = append(out, img)
		}
	}
	slices.SortFunc(out, func(a, b *Image) int {
		return cmp.Or(created(b).Compare(created(a)), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// created is when the image says it was made, else when it came here.
func created(img *Image) time.Time {
	if img.Config.Created != nil {
		return *img.Config.Created
	}
	return time.Time{}
}

func summary(img *Image, containers int) it.Summary {
	target := img.Target
	sum := it.Summary{
		ID: img.ID.String(), Containers: int64(containers), Size: img.Size, SharedSize: -1,
		Labels: img.Config.Config.Labels, Descriptor: &target,
	}
	if img.Config.Created != nil {
		sum.Created = img.Config.Created.Unix()
	}
	return sum
}

// manifests describes every manifest an image leads to; users are its containers.
func (s *Store) manifests(img *Image, users []User) []it.ManifestSummary {
	out := []it.ManifestSummary{}
	for _, v := range s.variants(img.Target) {
		m := it.ManifestSummary{ID: v.desc.Digest.String(), Descriptor: v.desc, Kind: it.ManifestKindUnknown}
		m.Size.Content = s.contentSize(v)
		m.Size.Total = m.Size.Content
		switch {
		case v.attestation:
			m.Kind = it.ManifestKindAttestation
			m.Available = v.manifest != nil
			m.AttestationData = &it.AttestationProperties{For: digest.Digest(v.desc.Annotations[oci.AttestationFor])}
		case v.desc.Platform != nil || v.config != nil:
			m.Kind = it.ManifestKindImage
			m.Available = s.firstMissing(v) == ""
			data := &it.ImageProperties{Platform: v.platform(), Containers: []string{}}
			data.Size.Unpacked = s.unpackedSize(v)
			m.Size.Total += data.Size.Unpacked
			for _, u := range users {
				if u.Manifest == v.desc.Digest {
					data.Containers = append(data.Containers, u.ID)
				}
			}
			m.ImageData = data
		}
		out = append(out, m)
	}
	return out
}
