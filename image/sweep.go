package image

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
)

// leases protect blobs and layers that no name reaches yet.
type leases struct {
	mu    sync.Mutex
	count map[digest.Digest]int
}

func (l *leases) has(d digest.Digest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count[d] > 0
}

// lease is what one pull or load protects. It belongs to one goroutine.
type lease struct {
	store *Store
	held  []digest.Digest
}

func (s *Store) lease() *lease { return &lease{store: s} }

// add protects digests of blobs or layers, whether they exist yet or not. From its return on they are not removed.
func (l *lease) add(digests ...digest.Digest) {
	l.store.gc.RLock()
	defer l.store.gc.RUnlock()
	all := &l.store.leases
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.count == nil {
		all.count = map[digest.Digest]int{}
	}
	for _, d := range digests {
		all.count[d]++
	}
	l.held = append(l.held, digests...)
}

// release ends the protection. What has got a name by then stays.
func (l *lease) release() {
	l.store.gc.RLock()
	defer l.store.gc.RUnlock()
	all := &l.store.leases
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, d := range l.held {
		if all.count[d]--; all.count[d] <= 0 {
			delete(all.count, d)
		}
	}
	l.held = nil
}

// reach is the set of blobs and layers (by diff ID) that something leads to.
type reach map[digest.Digest]bool

// mark adds everything desc leads to, as far as its documents are here.
func (s *Store) mark(r reach, desc ocispec.Descriptor) { s.markAt(r, desc, 0) }

func (s *Store) markAt(r reach, desc ocispec.Descriptor, depth int) {
	if r[desc.Digest] || depth > maxDepth+1 {
		return
	}
	r[desc.Digest] = true
	doc, err := s.document(desc)
	if err != nil {
		return
	}
	if doc.Index != nil {
		for _, child := range doc.Index.Manifests {
			s.markAt(r, child, depth+1)
		}
		return
	}
	for _, child := range doc.Children() {
		r[child.Digest] = true
	}
	if !oci.IsConfig(doc.Manifest.Config.MediaType) || oci.IsAttestation(desc) {
		return
	}
	if img, err := s.config(doc.Manifest.Config.Digest); err == nil {
		for _, d := range img.RootFS.DiffIDs {
			r[d] = true
		}
	}
}

// marked computes what names, containers and unfinished pulls lead to.
func (s *Store) marked() (reach, error) {
	r := reach{}
	for _, rec := range s.names.snapshot() {
		s.mark(r, rec.Target)
	}
	s.mu.Lock()
	users := s.users
	s.mu.Unlock()
	if users == nil {
		return nil, fmt.Errorf("sweep images: the containers are not known yet: %w", errdefs.ErrUnavailable)
	}
	for _, u := range users() {
		s.mark(r, ocispec.Descriptor{Digest: u.Image})
		s.mark(r, ocispec.Descriptor{Digest: u.Manifest})
	}
	pulls, err := s.pulls.All()
	if err != nil {
		return nil, err
	}
	for _, p := range pulls {
		if time.Since(p.Began) < pullMemory {
			for _, root := range p.Roots {
				s.mark(r, root)
			}
		}
	}
	return r, nil
}

// Sweep removes the blobs and layers that no name, no container and no pull under way needs, and tells how many bytes that gave.
func (s *Store) Sweep(ctx context.Context) (int64, error) {
	s.gc.Lock()
	defer s.gc.Unlock()
	r, err := s.marked()
	if err != nil {
		return 0, err
	}
	keep := func(d digest.Digest) bool { return r[d] || s.leases.has(d) }
	_, layers, err := s.layers.Sweep(keep)
	if err != nil {
		return layers, fmt.Errorf("sweep images: %w", err)
	}
	_, blobs, err := s.blobs.Sweep(keep)
	if err != nil {
		return layers + blobs, fmt.Errorf("sweep images: %w", err)
	}
	parts, err := s.blobs.SweepParts(func(d digest.Digest, last time.Time) bool { return keep(d) && time.Since(last) < pullMemory })
	if err != nil {
		return layers + blobs, fmt.Errorf("sweep images: %w", err)
	}
	return layers + blobs + parts, nil
}

// Usage is what all images take on disk, each blob and each layer counted once.
func (s *Store) Usage(ctx context.Context) (int64, error) {
	blobs, err := s.blobs.List()
	if err != nil {
		return 0, err
	}
	var total int64
	for _, d := range blobs {
		if n, err := s.blobs.Stat(d); err == nil {
			total += n
		}
	}
	diffIDs := reach{}
	for _, rec := range s.names.snapshot() {
		for _, v := range s.variants(rec.Target) {
			if v.config == nil {
				continue
			}
			for _, d := range v.config.RootFS.DiffIDs {
				if !diffIDs[d] && s.layers.Has(d) {
					total += s.layers.Size(d)
				}
				diffIDs[d] = true
			}
		}
	}
	return total, nil
}
