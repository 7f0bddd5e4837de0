package repository

import (
	"context"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// Tags returns up to n tags (all, when n is below 0) of a repository that sort after the given one, in order, and whether
// there are more.
func (s *Store) Tags(ctx context.Context, name, behind string, n int) (tags []string, more bool, err error) {
	if err := CheckName(name); err != nil {
		return nil, false, err
	}
	after := ""
	if behind != "" {
		after = tagKey(name, behind)
	}
	tags, more, err = s.page(ctx, "tags/"+name+"+/", after, n)
	if err != nil || len(tags) > 0 {
		return tags, more, err
	}
	known, err := s.exists(ctx, catalogKey(name))
	if err == nil && !known {
		err = &Error{NameUnknown, fmt.Errorf("no repository %q: %w", name, errdefs.ErrNotFound)}
	}
	return tags, more, err
}

// Names returns up to n names of repositories that sort after the given one, in order, and whether there are more.
func (s *Store) Names(ctx context.Context, behind string, n int) (names []string, more bool, err error) {
	after := ""
	if behind != "" {
		after = catalogKey(behind)
	}
	keys, more, err := s.keys(ctx, "catalog/", after, n)
	for _, key := range keys {
		names = append(names, nameIn(key))
	}
	return names, more, err
}

func (s *Store) page(ctx context.Context, prefix, after string, n int) ([]string, bool, error) {
	keys, more, err := s.keys(ctx, prefix, after, n)
	for i := range keys {
		keys[i] = last(keys[i])
	}
	return keys, more, err
}

func (s *Store) keys(ctx context.Context, prefix, after string, n int) (keys []string, more bool, err error) {
	ask := 0
	if n >= 0 {
		ask = n + 1
	}
	list, err := s.storage.List(ctx, prefix, after, ask)
	if err != nil {
		return nil, false, err
	}
	for _, o := range list {
		if n >= 0 && len(keys) == n {
			return keys, true, nil
		}
		keys = append(keys, o.Key)
	}
	return keys, false, nil
}

// tagsOf reads all tags of a repository.
func (s *Store) tagsOf(ctx context.Context, name string) (map[string]digest.Digest, error) {
	tags, _, err := s.page(ctx, "tags/"+name+"+/", "", -1)
	if err != nil {
		return nil, err
	}
	all := map[string]digest.Digest{}
	var mu sync.Mutex
	err = parallel(ctx, tags, func(ctx context.Context, tag string) error {
		body, err := s.read(ctx, tagKey(name, tag), 256)
		if errdefs.IsNotFound(err) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		all[tag] = digest.Digest(body)
		return err
	})
	return all, err
}
