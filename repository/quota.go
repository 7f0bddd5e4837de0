package repository

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

func overQuota() error {
	return &Error{Denied, fmt.Errorf("the repository has no room for this: its quota is used up: %w", errdefs.ErrPermissionDenied)}
}

// room is how many bytes the repository may still take, -1 when there is no bound.
func (s *Store) room(ctx context.Context, name string) (int64, error) {
	if s.config.Quota == nil {
		return -1, nil
	}
	quota := s.config.Quota(name)
	if quota <= 0 {
		return -1, nil
	}
	used, err := s.used(ctx, name)
	return max(0, quota-used), err
}

// used is what the blobs and manifests of a repository take, each counted once.
func (s *Store) used(ctx context.Context, name string) (int64, error) {
	seen := map[digest.Digest]bool{}
	var total int64
	count := func(o Object) error {
		d := digest.Digest(last(o.Key))
		if seen[d] {
			return nil
		}
		seen[d] = true
		size, known := s.sizes.get(d)
		if !known {
			var err error
			if size, err = s.sizeOf(ctx, d); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
		}
		total += size
		return nil
	}
	if err := s.each(ctx, "links/"+name+"+/", count); err != nil {
		return 0, err
	}
	return total, s.each(ctx, "manifests/"+name+"+/", count)
}

// admit refuses a blob that is in the storage, or about to be, and for which the repository has no room.
func (s *Store) admit(ctx context.Context, name string, d digest.Digest) error {
	room, err := s.room(ctx, name)
	if err != nil || room < 0 {
		return err
	}
	linked, err := s.exists(ctx, linkKey(name, d))
	if err != nil || linked {
		return err
	}
	size, err := s.sizeOf(ctx, d)
	if err == nil && size > room {
		return overQuota()
	}
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
