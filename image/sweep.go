package image

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/image/lease"
	"github.com/cove-containers/cove/oci"
)

// Lease protects blobs and layers from the sweep until they have a name.
type Lease = lease.Lease

// Lease begins to protect what is about to be fetched or made. It must be released.
func (s *Store) Lease() *Lease { return s.leases.New() }

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
	s.markHeld(r)
	return r, s.markUsed(r)
}

// markUsed adds what containers and unfinished pulls lead to.
func (s *Store) markUsed(r reach) error {
	s.mu.Lock()
	users := s.users
	s.mu.Unlock()
	if users == nil {
		return fmt.Errorf("sweep images: the containers are not known yet: %w", errdefs.ErrUnavailable)
	}
	for _, u := range users() {
		s.mark(r, ocispec.Descriptor{Digest: u.Image})
		s.mark(r, ocispec.Descriptor{Digest: u.Manifest})
	}
	pulls, err := s.pulls.All()
	if err != nil {
		return err
	}
	for _, p := range pulls {
		if time.Since(p.Began) < pullMemory {
			for _, root := range p.Roots {
				s.mark(r, root)
			}
		}
	}
	return nil
}

// needed tells of blobs and layers whether something leads to them now, or protects them.
func (s *Store) needed() (func(digest.Digest) bool, error) {
	r, err := s.marked()
	if err != nil {
		return nil, err
	}
	return func(d digest.Digest) bool { return r[d] || s.leases.Has(d) || s.isHeld(d) }, nil
}

// Sweep removes the blobs and layers that no name, no container and no pull under way needs, and tells how many bytes that
// gave. Pulls and loads go on meanwhile.
func (s *Store) Sweep(ctx context.Context) (int64, error) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	defer s.leases.Sweep()()
	keep, err := s.needed()
	if err != nil {
		return 0, err
	}
	freed, err := s.sweepBlobs(keep)
	if err == nil {
		var parts int64
		parts, err = s.blobs.SweepParts(func(d digest.Digest, last time.Time) bool { return keep(d) && time.Since(last) < pullMemory })
		freed += parts
	}
	if err == nil {
		var layers int64
		_, layers, err = s.layers.Sweep(keep)
		freed += layers
	}
	if err == nil {
		err = s.push.Forget()
		s.forget()
	}
	if err != nil {
		return freed, fmt.Errorf("sweep images: %w", err)
	}
	return freed, nil
}

func (s *Store) sweepBlobs(keep func(digest.Digest) bool) (freed int64, err error) {
	all, err := s.blobs.List()
	if err != nil {
		return 0, err
	}
	for _, d := range all {
		if keep(d) {
			continue
		}
		err := s.leases.UnlessHeld(d, func() error {
			size, err := s.blobs.Stat(d)
			if errdefs.IsNotFound(err) {
				return nil
			}
			if err == nil {
				err = s.blobs.Delete(d)
			}
			if err == nil {
				freed += size
			}
			return err
		})
		if err != nil {
			return freed, err
		}
	}
	return freed, nil
}

// Usage is what images take on disk: every blob and every layer once.
type Usage struct {
	Total int64
	// Reclaimable is what comes back when every image goes that no container uses.
	Reclaimable int64
}

// Usage measures all blobs, those half fetched too, and all layers.
func (s *Store) Usage(ctx context.Context) (Usage, error) {
	used := reach{}
	if err := s.markUsed(used); err != nil {
		return Usage{}, err
	}
	blobs, err := s.blobs.Space()
	if err != nil {
		return Usage{}, err
	}
	layers, err := s.layers.Space(ctx)
	if err != nil {
		return Usage{}, err
	}
	var u Usage
	for _, kind := range []map[digest.Digest]int64{blobs, layers} {
		for d, n := range kind {
			u.Total += n
			if !used[d] && !s.leases.Has(d) {
				u.Reclaimable += n
			}
		}
	}
	return u, nil
}
