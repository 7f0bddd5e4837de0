package image

import (
	"context"
	"slices"
	"time"

	it "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Inspect describes an image as `docker image inspect` shows it. manifests adds what all its platforms have.
func (s *Store) Inspect(ctx context.Context, reference string, platform *ocispec.Platform, manifests bool) (it.InspectResponse, error) {
	img, err := s.Get(ctx, reference, platform)
	if err != nil {
		return it.InspectResponse{}, err
	}
	c, target := img.Config, img.Target
	r := it.InspectResponse{
		ID: img.ID.String(), RepoTags: img.RepoTags, RepoDigests: img.RepoDigests, Author: c.Author, Config: &c.Config,
		Architecture: c.Architecture, Variant: c.Variant, Os: c.OS, OsVersion: c.OSVersion, Size: img.Size,
		GraphDriver: &storage.DriverData{Name: "overlay2", Data: map[string]string{}},
		RootFS:      it.RootFS{Type: "layers"},
		Metadata:    it.Metadata{LastTagTime: img.LastTagged},
		Descriptor:  &target,
	}
	if platform != nil {
		chosen := img.Manifest
		r.Descriptor = &chosen
	}
	for _, d := range img.DiffIDs {
		r.RootFS.Layers = append(r.RootFS.Layers, d.String())
	}
	if c.Created != nil {
		r.Created = c.Created.Format(time.RFC3339Nano)
	}
	if n := len(c.History); n > 0 {
		r.Comment = c.History[n-1].Comment
	}
	if manifests {
		r.Manifests = s.manifests(img, s.usersOf(img.ID))
	}
	return r, nil
}

// History tells how an image was made, last step first. Steps that another machine made have no ID of their own.
func (s *Store) History(ctx context.Context, reference string, platform *ocispec.Platform) ([]it.HistoryResponseItem, error) {
	img, err := s.Get(ctx, reference, platform)
	if err != nil {
		return nil, err
	}
	out := []it.HistoryResponseItem{}
	layer := 0
	for _, h := range img.Config.History {
		item := it.HistoryResponseItem{ID: "<missing>", Comment: h.Comment, CreatedBy: h.CreatedBy}
		if h.Created != nil {
			item.Created = h.Created.Unix()
		}
		if !h.EmptyLayer && layer < len(img.DiffIDs) {
			item.Size = s.layers.Size(img.DiffIDs[layer])
			layer++
		}
		out = append(out, item)
	}
	slices.Reverse(out)
	if len(out) > 0 {
		out[0].ID, out[0].Tags = img.ID.String(), img.RepoTags
	}
	return out, nil
}
