package repository

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// Collection says how garbage is collected.
type Collection struct {
	Grace    time.Duration // how old garbage has to be; 0: as the Store was opened with
	Untagged bool          // manifests without a tag are garbage, when no tagged one leads to them
	DryRun   bool          // only tell
}

// Collected is what a collection removed, or would have.
type Collected struct {
	Manifests int   `json:"manifests"`
	Links     int   `json:"links"` // blobs taken out of a repository
	Blobs     int   `json:"blobs"`
	Uploads   int   `json:"uploads"`
	Freed     int64 `json:"bytes"`
}

// collection is one run.
type collection struct {
	*Store
	Collection
	run    string
	result Collected
	dry    map[string]bool // what a dry run would have removed by now
	errs   []error         // what kept single repositories from being collected
}

// Collect removes what nothing leads to. Pushes and pulls go on meanwhile, and other collections may run: see the
// package's comment.
func (s *Store) Collect(ctx context.Context, c Collection) (Collected, error) {
	if c.Grace <= 0 {
		c.Grace = s.config.Grace
	}
	run := &collection{Store: s, Collection: c, run: strings.ToLower(rand.Text()), dry: map[string]bool{}}
	for _, step := range []func(context.Context) error{run.leftovers, run.uploads, run.repositories, run.blobs} {
		if err := step(ctx); err != nil {
			return run.result, fmt.Errorf("collect garbage: %w", err)
		}
	}
	if err := errors.Join(run.errs...); err != nil {
		return run.result, fmt.Errorf("collect garbage: %w", err)
	}
	return run.result, nil
}

// old tells whether an object may be garbage.
func (c *collection) old(o Object) bool { return c.now().Sub(o.Modified) > c.Grace }

// take removes keys in the way of Store.remove.
func (c *collection) take(ctx context.Context, keys []string, needed func(ctx context.Context, keys []string) (map[string]bool, error)) ([]string, error) {
	if c.DryRun {
		for _, key := range keys {
			c.dry[key] = true
		}
	}
	if c.DryRun || len(keys) == 0 {
		return keys, nil
	}
	return c.remove(ctx, c.run, keys, needed)
}

// leftovers takes away the lists of collections that ended in the middle.
func (c *collection) leftovers(ctx context.Context) error {
	return c.each(ctx, doomedPrefix, func(o Object) error {
		if c.now().Sub(o.Modified) <= 2*doomedStale {
			return nil
		}
		return c.storage.Delete(ctx, o.Key)
	})
}

// slowestTransfer is longer than any registry that lives takes to bring one object into an object store.
const slowestTransfer = 24 * time.Hour

// uploads removes what nobody has written to for long.
func (c *collection) uploads(ctx context.Context) error {
	var id string
	var keys []string
	var newest time.Time
	var size int64
	flush := func() error {
		if len(keys) == 0 || c.now().Sub(newest) <= c.config.UploadExpiry {
			return nil
		}
		c.result.Uploads++
		c.result.Freed += size
		if c.DryRun {
			return nil
		}
		// The state goes first: an upload that has one is whole.
		if err := c.storage.Delete(ctx, "uploads/"+id+"/state"); err != nil {
			return err
		}
		return c.storage.Delete(ctx, keys...)
	}
	err := c.each(ctx, "uploads/", func(o Object) error {
		now, _, _ := strings.Cut(strings.TrimPrefix(o.Key, "uploads/"), "/")
		if now != id {
			if err := flush(); err != nil {
				return err
			}
			id, keys, newest, size = now, nil, time.Time{}, 0
		}
		keys = append(keys, o.Key)
		size += o.Size
		if o.Modified.After(newest) {
			newest = o.Modified
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	// An object store keeps unfinished transfers of its own, which say only when they began: one may still be under way.
	if store, ok := c.storage.(interface {
		Expire(ctx context.Context, before time.Time) (int, error)
	}); ok && err == nil && !c.DryRun {
		_, err = store.Expire(ctx, c.now().Add(-max(c.config.UploadExpiry, slowestTransfer)))
	}
	return err
}

// repositories goes through all repositories: those that are listed, and those that have only got blobs so far.
func (c *collection) repositories(ctx context.Context) error {
	names := map[string]Object{}
	if err := c.each(ctx, "links/", func(o Object) error { names[nameIn(o.Key)] = Object{}; return nil }); err != nil {
		return err
	}
	if err := c.each(ctx, "catalog/", func(o Object) error { names[nameIn(o.Key)] = o; return nil }); err != nil {
		return err
	}
	for name, entry := range names {
		err := c.repository(ctx, name, entry)
		if err != nil {
			err = fmt.Errorf("repository %s: %w", name, err)
		}
		if errdefs.IsDataLoss(err) {
			// What a damaged record leads to nobody knows, so here everything stays; the others are not to suffer from it.
			c.errs = append(c.errs, err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *collection) repository(ctx context.Context, name string, entry Object) error {
	m := &marks{store: c.Store, name: name, records: map[digest.Digest]marked{}}
	if err := m.refresh(ctx); err != nil {
		return err
	}
	if c.Untagged {
		if err := c.untagged(ctx, m); err != nil {
			return err
		}
	}
	if err := c.links(ctx, m); err != nil {
		return err
	}
	if err := c.referrers(ctx, m); err != nil {
		return err
	}
	if entry.Key == "" || !c.old(entry) || len(m.records) > 0 {
		return nil
	}
	_, err := c.take(ctx, []string{entry.Key}, func(ctx context.Context, keys []string) (map[string]bool, error) {
		there, err := c.storage.List(ctx, "manifests/"+name+"+/", "", 1)
		return map[string]bool{entry.Key: len(there) > 0}, err
	})
	return err
}

// untagged removes the manifests that no tag leads to, nor anything that may still get one. What they were listed as referrers
// for is left to referrers: those entries are named in doomed/ as well, so that who pushes one of them again keeps its entry.
func (c *collection) untagged(ctx context.Context, m *marks) error {
	garbage := func(ctx context.Context) (map[string]bool, error) {
		live, err := m.live(ctx, func(r marked) bool { return c.now().Sub(r.modified) <= c.Grace })
		if err != nil {
			return nil, err
		}
		found := map[string]bool{}
		for d := range m.records {
			if !live[d] {
				found[manifestKey(m.name, d)] = true
			}
		}
		return found, nil
	}
	gone, err := c.sweep(ctx, m, garbage)
	c.result.Manifests += len(gone)
	for _, key := range gone {
		delete(m.records, digest.Digest(last(key)))
	}
	return err
}

// sweep takes what is garbage of a repository, after looking once more, at its manifests as they are then, whether it still is.
func (c *collection) sweep(ctx context.Context, m *marks, garbage func(context.Context) (map[string]bool, error)) ([]string, error) {
	found, err := garbage(ctx)
	if err != nil {
		return nil, err
	}
	return c.take(ctx, slices.Collect(maps.Keys(found)), func(ctx context.Context, keys []string) (map[string]bool, error) {
		if err := m.refresh(ctx); err != nil {
			return nil, err
		}
		still, err := garbage(ctx)
		keep := map[string]bool{}
		for _, key := range keys {
			if !still[key] {
				keep[key] = true
			}
		}
		return keep, err
	})
}

// links takes out of the repository the blobs that none of its manifests names.
func (c *collection) links(ctx context.Context, m *marks) error {
	prefix := "links/" + m.name + "+/"
	garbage := func(ctx context.Context) (map[string]bool, error) {
		used := m.blobs()
		found := map[string]bool{}
		return found, c.each(ctx, prefix, func(o Object) error {
			if c.old(o) && !used[digest.Digest(last(o.Key))] {
				found[o.Key] = true
			}
			return nil
		})
	}
	gone, err := c.sweep(ctx, m, garbage)
	c.result.Links += len(gone)
	if c.DryRun {
		return err
	}
	var holders []string
	for _, key := range gone {
		holders = append(holders, holderKey(digest.Digest(last(key)), m.name))
	}
	return errors.Join(err, c.storage.Delete(ctx, holders...))
}

// referrers removes entries whose manifest is gone: taken a moment ago, or left by a crash between the two.
func (c *collection) referrers(ctx context.Context, m *marks) error {
	prefix := "referrers/" + m.name + "+/"
	var keys []string
	err := c.each(ctx, prefix, func(o Object) error {
		if _, there := m.records[digest.Digest(last(o.Key))]; !there && c.old(o) {
			keys = append(keys, o.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = c.take(ctx, keys, func(ctx context.Context, keys []string) (map[string]bool, error) {
		keep := map[string]bool{}
		for _, key := range keys {
			there, err := c.exists(ctx, manifestKey(m.name, digest.Digest(last(key))))
			if err != nil {
				return nil, err
			}
			keep[key] = there
		}
		return keep, nil
	})
	return err
}

// blobs removes the bytes that no repository has.
func (c *collection) blobs(ctx context.Context) error {
	used := func(ctx context.Context) (map[digest.Digest]bool, error) {
		all := map[digest.Digest]bool{}
		for _, prefix := range []string{"links/", "manifests/"} {
			err := c.each(ctx, prefix, func(o Object) error {
				if !c.dry[o.Key] {
					all[digest.Digest(last(o.Key))] = true
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
		return all, nil
	}
	live, err := used(ctx)
	if err != nil {
		return err
	}
	sizes := map[string]int64{}
	var keys []string
	err = c.each(ctx, "blobs/", func(o Object) error {
		if d, ok := blobOf(o.Key); ok && !live[d] && c.old(o) {
			keys = append(keys, o.Key)
			sizes[o.Key] = o.Size
		}
		return nil
	})
	if err != nil {
		return err
	}
	gone, err := c.take(ctx, keys, func(ctx context.Context, keys []string) (map[string]bool, error) {
		live, err := used(ctx)
		keep := map[string]bool{}
		for _, key := range keys {
			if d, _ := blobOf(key); live[d] {
				keep[key] = true
			}
		}
		return keep, err
	})
	c.result.Blobs += len(gone)
	for _, key := range gone {
		c.result.Freed += sizes[key]
	}
	if err != nil || c.DryRun {
		return err
	}
	return c.holders(ctx, live)
}

// holders removes the hints to blobs that no repository has. One that is removed though somebody just came to have the
// blob is missed by nobody but a mount, which becomes an upload.
func (c *collection) holders(ctx context.Context, live map[digest.Digest]bool) error {
	var keys []string
	err := c.each(ctx, "holders/", func(o Object) error {
		d, _, _ := strings.Cut(strings.TrimPrefix(o.Key, "holders/"), "/")
		if !live[digest.Digest(d)] && c.old(o) {
			keys = append(keys, o.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.storage.Delete(ctx, keys...)
}

// marks are the manifests of one repository with what they name.
type marks struct {
	store   *Store
	name    string
	records map[digest.Digest]marked
}

type marked struct {
	record
	modified time.Time
}

// refresh lists the manifests again and reads those that are new.
func (m *marks) refresh(ctx context.Context) error {
	now := map[digest.Digest]marked{}
	var news []Object
	err := m.store.each(ctx, "manifests/"+m.name+"+/", func(o Object) error {
		d := digest.Digest(last(o.Key))
		if known, ok := m.records[d]; ok && known.modified.Equal(o.Modified) {
			now[d] = known
		} else {
			news = append(news, o)
		}
		return nil
	})
	if err != nil {
		return err
	}
	read := make(chan struct {
		digest.Digest
		marked
	}, len(news))
	err = parallel(ctx, news, func(ctx context.Context, o Object) error {
		d := digest.Digest(last(o.Key))
		r, err := m.store.record(ctx, m.name, d)
		if errdefs.IsNotFound(err) {
			return nil
		}
		read <- struct {
			digest.Digest
			marked
		}{d, marked{r, o.Modified}}
		return err
	})
	close(read)
	for one := range read {
		now[one.Digest] = one.marked
	}
	m.records = now
	return err
}

// blobs are what the manifests name.
func (m *marks) blobs() map[digest.Digest]bool {
	used := map[digest.Digest]bool{}
	for _, r := range m.records {
		for _, d := range r.Blobs {
			used[d] = true
		}
	}
	return used
}

// live are the manifests that a tag or a young manifest leads to: it points there, an index it leads to lists it, or it has such a
// one as its subject.
func (m *marks) live(ctx context.Context, young func(marked) bool) (map[digest.Digest]bool, error) {
	tags, err := m.store.tagsOf(ctx, m.name)
	if err != nil {
		return nil, err
	}
	about := map[digest.Digest][]digest.Digest{}
	for d, r := range m.records {
		if r.Subject != "" {
			about[r.Subject] = append(about[r.Subject], d)
		}
	}
	live := map[digest.Digest]bool{}
	var reach func(d digest.Digest)
	reach = func(d digest.Digest) {
		if live[d] {
			return
		}
		live[d] = true
		for _, child := range m.records[d].Manifests {
			reach(child)
		}
		for _, referrer := range about[d] {
			reach(referrer)
		}
	}
	for _, d := range tags {
		reach(d)
	}
	for d, r := range m.records {
		if young(r) {
			reach(d)
		}
	}
	return live, nil
}
