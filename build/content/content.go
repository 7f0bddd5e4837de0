// Package content tells what steps of a build read of the file systems below them: digests of files and trees, picked by
// path and pattern, that stay the same as long as what is picked does. Times of files do not count; modes, owners,
// extended attributes and the targets of links do.
//
// It reads layers' trees where they lie, and merges them itself as overlayfs would. A layer never changes, so what
// was found out about one holds for every pile it is part of: after a small change only what changed is read again.
package content

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/layer"
)

// maxEntries bounds how many names of files are remembered, over all layers; it takes about 250 bytes each.
const maxEntries = 1_000_000

// cleanEvery is after how many piles the store looks for what is gone, and whether it remembers too much.
const cleanEvery = 32

// layers is the keeper of layers, as far as their content is read here.
type layers interface {
	// PileDirs are the directories of a pile as overlayfs gets them, topmost first.
	PileDirs(p layer.Pile) ([]string, error)
}

// Store remembers what layers hold. It is safe for concurrent use. Whoever asks keeps the layers from being removed meanwhile.
type Store struct {
	layers layers

	mu    sync.Mutex
	trees map[string]*tree // by directory
	piles map[string]*Pile // by their directories
	clock int64            // counts uses
}

// New makes a store that has read nothing yet.
func New(l layers) *Store {
	return &Store{layers: l, trees: map[string]*tree{}, piles: map[string]*Pile{}}
}

// Pile is what a pile of layers adds up to. Directories are read when they are looked into.
type Pile struct {
	mu   sync.Mutex // guards what the nodes have found out
	root *Node      // nil: scratch
	used int64
	of   []*tree
}

// Open gives the file tree of a pile.
func (s *Store) Open(p layer.Pile) (*Pile, error) {
	dirs, err := s.layers.PileDirs(p)
	if err != nil {
		return nil, err
	}
	key := fmt.Sprint(len(dirs))
	for _, dir := range dirs {
		key += "\x00" + dir
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.piles[key]; known != nil && known.live(s.trees) {
		s.clock++
		known.used = s.clock
		return known, nil
	}
	s.clock++
	pile := &Pile{used: s.clock}
	for _, dir := range dirs {
		t, err := s.tree(dir)
		if err != nil {
			return nil, err
		}
		pile.of = append(pile.of, t)
	}
	if pile.root, err = rootOf(pile.of); err != nil {
		return nil, err
	}
	s.piles[key] = pile
	if s.clock%cleanEvery == 0 {
		s.forget()
	}
	return pile, nil
}

// live tells whether the pile's layers are still those there: a name may have been removed and given again.
func (p *Pile) live(trees map[string]*tree) bool {
	for _, t := range p.of {
		if trees[t.dir] != t || !t.same() {
			return false
		}
	}
	return true
}

// tree is what is known of one layer; s.mu is held.
func (s *Store) tree(dir string) (*tree, error) {
	if t := s.trees[dir]; t != nil && t.same() {
		return t, nil
	}
	t, err := newTree(dir)
	if err != nil {
		return nil, err
	}
	s.trees[dir] = t
	return t, nil
}

// forget drops what was not used for longest once there is too much, and piles whose layers are gone; s.mu is held.
func (s *Store) forget() {
	total := int64(0)
	for dir, t := range s.trees {
		if _, err := os.Lstat(dir); err != nil {
			delete(s.trees, dir)
			continue
		}
		total += t.count.Load()
	}
	for key, p := range s.piles {
		if !p.live(s.trees) {
			delete(s.piles, key)
		}
		total += p.size()
	}
	for total > maxEntries && len(s.piles) > 1 {
		oldest := ""
		for key, p := range s.piles {
			if oldest == "" || p.used < s.piles[oldest].used {
				oldest = key
			}
		}
		total -= s.piles[oldest].size()
		delete(s.piles, oldest)
		total -= s.dropTrees()
	}
}

// dropTrees forgets the layers that are in no remembered pile; s.mu is held.
func (s *Store) dropTrees() (dropped int64) {
	needed := map[*tree]bool{}
	for _, p := range s.piles {
		for _, t := range p.of {
			needed[t] = true
		}
	}
	for dir, t := range s.trees {
		if !needed[t] {
			dropped += t.count.Load()
			delete(s.trees, dir)
		}
	}
	return dropped
}

func (p *Pile) size() (n int64) {
	for _, t := range p.of {
		n += t.count.Load()
	}
	return n / int64(max(len(p.of), 1))
}

// Learn notes the digests of files' contents in the topmost layer of a pile, by path, from whoever has just written them.
func (s *Store) Learn(p layer.Pile, contents map[string]digest.Digest) error {
	dirs, err := s.layers.PileDirs(p)
	if err != nil || len(dirs) == 0 {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.tree(dirs[0])
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.told = contents
	return nil
}

// Digest is one digest of all that the selectors pick of a pile. What a selector must find and does not is
// errdefs.ErrNotFound. Without selectors everything counts.
func (s *Store) Digest(ctx context.Context, p layer.Pile, selectors ...Selector) (digest.Digest, error) {
	pile, err := s.Open(p)
	if err != nil {
		return "", fmt.Errorf("read content: %w", err)
	}
	return pile.Digest(ctx, selectors...)
}
