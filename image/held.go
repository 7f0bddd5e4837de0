package image

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxForms is how many blobs of one layer are remembered.
const maxForms = 4

// remember notes which blobs the layers of an image came from.
func (s *Store) remember(layers []ocispec.Descriptor, diffIDs []digest.Digest) {
	for _, t := range layerTasks(layers, diffIDs) {
		s.Remember(t.diffID, t.desc)
	}
}

// Remember notes that desc is a blob of the layer diffID.
func (s *Store) Remember(diffID digest.Digest, desc ocispec.Descriptor) {
	desc = ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.forms[diffID]
	if slices.ContainsFunc(list, func(d ocispec.Descriptor) bool { return d.Digest == desc.Digest }) {
		return
	}
	if len(list) >= maxForms {
		list = s.here(diffID)
	}
	list = append(slices.Clone(list[:min(len(list), maxForms-1)]), desc)
	s.forms[diffID] = list
	s.formTable.PutLater(diffID.String(), list)
}

// Blobs are the blobs here that unpack to the layer diffID, the one met first first: what is made of a layer later does not take
// the place of what it came as. They stay as long as the caller has a lease on
// them, or on what leads to them.
func (s *Store) Blobs(diffID digest.Digest) []ocispec.Descriptor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.here(diffID)
}

// here is Blobs for who holds the lock.
func (s *Store) here(diffID digest.Digest) []ocispec.Descriptor {
	return slices.DeleteFunc(slices.Clone(s.forms[diffID]), func(d ocispec.Descriptor) bool {
		n, err := s.blobs.Stat(d.Digest)
		return err != nil || n != d.Size
	})
}

// SetHeld tells how to ask whether somebody other than images and containers needs a layer, the builder: it stays, and the blobs it came from.
// held must not call back into the store.
func (s *Store) SetHeld(held func(layer string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = held
}

// isHeld tells whether the builder needs the layer.
func (s *Store) isHeld(diffID digest.Digest) bool {
	s.mu.Lock()
	held := s.held
	s.mu.Unlock()
	return held != nil && held(diffID.String())
}

// markHeld adds what the builder needs.
func (s *Store) markHeld(r reach) {
	s.mu.Lock()
	known := slices.Collect(maps.Keys(s.forms))
	s.mu.Unlock()
	for _, diffID := range known {
		if !s.isHeld(diffID) {
			continue
		}
		r[diffID] = true
		for _, d := range s.Blobs(diffID) {
			r[d.Digest] = true
		}
	}
}

// forget drops what is remembered of layers whose blobs are all gone.
func (s *Store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for diffID := range s.forms {
		if len(s.here(diffID)) == 0 {
			delete(s.forms, diffID)
			s.formTable.DeleteLater(diffID.String())
		}
	}
}
