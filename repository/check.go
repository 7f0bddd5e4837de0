package repository

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/api"
)

// Check compares tags with manifests and manifests with blobs; deep reads every blob and compares it with its digest.
// Content that is not there cannot be made again: who pushed it is to push it once more.
func (s *Store) Check(ctx context.Context, deep bool) (api.Findings, error) {
	var found api.Findings
	blobs := map[digest.Digest]int64{}
	err := s.each(ctx, "blobs/", func(o Object) error {
		if d, ok := blobOf(o.Key); ok {
			blobs[d] = o.Size
		}
		return nil
	})
	if err != nil {
		return found, fmt.Errorf("check registry: %w", err)
	}
	found.Count("registry blobs", len(blobs))
	if err := s.checkManifests(ctx, &found, blobs); err != nil {
		return found, fmt.Errorf("check registry: %w", err)
	}
	if err := s.checkTags(ctx, &found); err != nil {
		return found, fmt.Errorf("check registry: %w", err)
	}
	if !deep {
		return found, nil
	}
	for _, d := range slices.Sorted(maps.Keys(blobs)) {
		if err := s.checkBlob(ctx, &found, d); err != nil {
			return found, fmt.Errorf("check registry: %w", err)
		}
	}
	return found, nil
}

func (s *Store) checkManifests(ctx context.Context, found *api.Findings, blobs map[digest.Digest]int64) error {
	return s.each(ctx, "manifests/", func(o Object) error {
		name, d := nameIn(o.Key), digest.Digest(last(o.Key))
		found.Count("registry manifests", 1)
		r, err := s.record(ctx, name, d)
		switch {
		case errdefs.IsNotFound(err): // deleted meanwhile
			return nil
		case errdefs.IsDataLoss(err):
			found.Add(api.Fault{Kind: "registry", Name: name + "@" + d.String(), Problem: "its record cannot be read", Advice: "delete the manifest and push it again"})
			return nil
		case err != nil:
			return err
		}
		for _, needed := range append([]digest.Digest{d}, r.Blobs...) {
			if _, there := blobs[needed]; there || s.config.Cache && needed != d {
				continue
			}
			found.Add(api.Fault{
				Kind: "registry", Name: name + "@" + d.String(), Problem: "blob " + needed.String() + " is missing", Advice: "push the image again",
				Persists: func() bool {
					_, err := s.storage.Stat(ctx, blobKey(needed))
					still, err2 := s.exists(ctx, manifestKey(name, d))
					return errdefs.IsNotFound(err) && (still || err2 != nil)
				},
			})
		}
		return nil
	})
}

func (s *Store) checkTags(ctx context.Context, found *api.Findings) error {
	return s.each(ctx, "tags/", func(o Object) error {
		name, tag := nameIn(o.Key), last(o.Key)
		dangles := func() bool {
			d, err := s.resolve(ctx, name, tag)
			if err != nil {
				return errdefs.IsDataLoss(err)
			}
			there, err := s.exists(ctx, manifestKey(name, d))
			return err == nil && !there
		}
		if !dangles() {
			return nil
		}
		found.Add(api.Fault{
			Kind: "registry", Name: name + ":" + tag, Problem: "the tag points to nothing", Remedy: "removed", Persists: dangles,
			Mend: func(ctx context.Context) error {
				if !dangles() {
					return nil
				}
				return s.storage.Delete(ctx, tagKey(name, tag))
			},
		})
		return nil
	})
}

// checkBlob reads a blob. One that is not what its name says serves nobody: it goes, so that a push can bring it again.
func (s *Store) checkBlob(ctx context.Context, found *api.Findings, d digest.Digest) error {
	damaged := func() (bool, error) {
		r, _, err := s.storage.Open(ctx, blobKey(d), 0)
		if errdefs.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		defer r.Close()
		v := d.Verifier()
		if _, err := io.Copy(v, r); err != nil {
			return false, err
		}
		return !v.Verified(), nil
	}
	bad, err := damaged()
	if err != nil || !bad {
		return err
	}
	found.Add(api.Fault{
		Kind: "registry", Name: d.String(), Problem: "the blob is damaged", Remedy: "removed; push the image again",
		Mend: func(ctx context.Context) error {
			if bad, err := damaged(); err != nil || !bad {
				return err
			}
			return s.storage.Delete(ctx, blobKey(d))
		},
	})
	return nil
}
