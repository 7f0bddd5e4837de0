package layer

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/state"
)

// Adopt makes the built layers of a pile, without a copy, layers of images: diffIDs are what the layers are called there, one
// for each, lowest first, as PackPile's bytes hash. So an image that was just built has nothing to unpack. On other layers
// than these a layer is unpacked from its archive, as any other is.
func (s *Store) Adopt(ctx context.Context, p Pile, diffIDs []digest.Digest) error {
	if len(p) != len(diffIDs) {
		return fmt.Errorf("adopt %d layers by %d names: %w", len(p), len(diffIDs), errdefs.ErrInvalidArgument)
	}
	if err := s.Settle(ctx); err != nil {
		return err
	}
	fresh := map[digest.Digest]layerRecord{}
	for i, name := range p {
		if ofImage(name) || s.Has(diffIDs[i]) {
			continue
		}
		size, _, err := s.BuiltSize(ctx, name)
		if err != nil {
			return fmt.Errorf("adopt layer: %w", err)
		}
		empty, err := isEmpty(s.builtTree(name))
		if err != nil {
			return fmt.Errorf("adopt layer: %w", err)
		}
		if _, twice := fresh[diffIDs[i]]; !twice {
			fresh[diffIDs[i]] = layerRecord{Size: size, Newest: s.Newest(Pile{name}).Unix(), Built: name, Reaches: !empty && !s.Movable(Pile{name})}
		}
	}
	layers, fixes, busy := s.fitting(fresh, diffIDs)
	defer s.vacate(busy)
	if len(busy) == 0 {
		return nil
	}
	err := s.db.Update(func(tx *state.Tx) error {
		for id, record := range layers {
			if err := s.layers.PutIn(tx, id.String(), record); err != nil {
				return err
			}
		}
		for chain, fix := range fixes {
			if err := s.fixes.PutIn(tx, chain.String(), fix); err != nil {
				return err
			}
		}
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		for id := range layers {
			delete(s.known.layers, id)
		}
		return fmt.Errorf("adopt layers: %w", err)
	}
	maps.Copy(s.known.fixes, fixes)
	return nil
}

// fitting picks the layers that nobody has or makes by now, and of the chains that end in one of them those where it
// fits as it is. They are known from then on, and occupied by these keys.
func (s *Store) fitting(fresh map[digest.Digest]layerRecord, diffIDs []digest.Digest) (map[digest.Digest]layerRecord, map[digest.Digest]fixRecord, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	layers, fixes := map[digest.Digest]layerRecord{}, map[digest.Digest]fixRecord{}
	for i, chain := range chains(diffIDs) {
		id := diffIDs[i]
		record, ok := fresh[id]
		if !ok {
			continue
		}
		if _, there := s.known.layers[id]; there || s.working[layerKey(id)] != nil {
			continue
		}
		_, known := s.known.fixes[chain]
		if _, twice := layers[id]; !twice {
			layers[id] = record
			if !known && s.working[fixKey(chain)] == nil {
				fixes[chain] = fixRecord{DiffIDs: slices.Clone(diffIDs[:i+1]), Kind: fixNone}
			}
		}
	}
	maps.Copy(s.known.layers, layers)
	busy := keys(slices.Collect(maps.Keys(layers)), slices.Collect(maps.Keys(fixes)))
	s.occupy(busy)
	return layers, fixes, busy
}

// adopted tells that the folder of a built layer is the tree of one that images have. The lock is held.
func (s *Store) adopted(name string) bool {
	for _, record := range s.known.layers {
		if record.Built == name {
			return true
		}
	}
	return false
}

// verifyAdopted is Verify for a layer that was never unpacked: what its tree packs to must hash to its diff ID.
func (s *Store) verifyAdopted(ctx context.Context, diffID digest.Digest, record layerRecord, tar io.Reader, unused func() error) ([]string, error) {
	var below []string
	var err error
	s.mu.Lock()
	for _, fix := range s.known.fixes {
		if n := len(fix.DiffIDs) - 1; fix.Kind == fixNone && fix.DiffIDs[n] == diffID && n > 0 {
			below, err = s.stack(fix.DiffIDs[:n])
			break
		}
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	hash := diffID.Algorithm().Hash()
	if err := packTrees(ctx, hash, []string{s.tree(diffID, record)}, below); err != nil {
		return nil, err
	}
	got := digest.NewDigest(diffID.Algorithm(), hash)
	if got == diffID {
		return nil, nil
	}
	if unused != nil {
		if err = unused(); err == nil {
			err = s.Scrap(ctx, record.Built)
		}
		if err == nil {
			err = s.Remove(diffID)
		}
		if err == nil {
			_, err = s.Apply(ctx, diffID, tar)
		}
	}
	return []string{"what a build made hashes to " + got.String()}, err
}
