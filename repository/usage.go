package repository

import (
	"context"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Usage is what a registry holds.
type Usage struct {
	Repositories []RepositoryUsage `json:"repositories"`
	Blobs        int               `json:"blobs"` // manifests too
	Size         int64             `json:"bytes"` // each blob once, in however many repositories it is
	Uploads      int               `json:"uploads"`
	UploadSize   int64             `json:"uploadBytes"`
}

// RepositoryUsage is what one repository holds, each blob counted once in it.
type RepositoryUsage struct {
	Name      string `json:"name"`
	Tags      int    `json:"tags"`
	Manifests int    `json:"manifests"`
	Blobs     int    `json:"blobs"`
	Size      int64  `json:"bytes"`
}

// Usage counts what is there.
func (s *Store) Usage(ctx context.Context) (Usage, error) {
	u := Usage{Repositories: []RepositoryUsage{}}
	sizes := map[digest.Digest]int64{}
	err := s.each(ctx, "blobs/", func(o Object) error {
		if d, ok := blobOf(o.Key); ok {
			sizes[d] = o.Size
			u.Blobs++
			u.Size += o.Size
		}
		return nil
	})
	if err != nil {
		return u, err
	}
	all := map[string]*RepositoryUsage{}
	of := func(key string) *RepositoryUsage {
		name := nameIn(key)
		if all[name] == nil {
			all[name] = &RepositoryUsage{Name: name}
		}
		return all[name]
	}
	for prefix, count := range map[string]func(o Object){
		"links/":     func(o Object) { of(o.Key).Blobs++; of(o.Key).Size += sizes[digest.Digest(last(o.Key))] },
		"manifests/": func(o Object) { of(o.Key).Manifests++; of(o.Key).Size += sizes[digest.Digest(last(o.Key))] },
		"tags/":      func(o Object) { of(o.Key).Tags++ },
		"uploads/": func(o Object) {
			if last(o.Key) == "state" {
				u.Uploads++
			} else {
				u.UploadSize += o.Size
			}
		},
	} {
		if err := s.each(ctx, prefix, func(o Object) error { count(o); return nil }); err != nil {
			return u, err
		}
	}
	for _, r := range all {
		u.Repositories = append(u.Repositories, *r)
	}
	slices.SortFunc(u.Repositories, func(a, b RepositoryUsage) int { return strings.Compare(a.Name, b.Name) })
	return u, nil
}
