// Package layer keeps root file systems: the read-only trees that images are made of, the stacks they form with
// overlayfs, and the writable layer on top of a stack that each container has.
//
//	layers/
//	    FORMAT                         "1"
//	    empty/                         lies below an image that has no layer
//	    mark/.dockerenv                lies over every image: by this file programs know that they are in a container
//	    trees/<hex>/                   a layer's tree, by the hex of its diff ID
//	    fixes/<hex>/                   what one chain of layers needs besides its trees, by the hex of its chain ID
//	    writable/<id>/{upper,work}/    a container's own layer; without work/ what one was when it was frozen
//	    built/<name>/{upper,work}/     a layer that a build made; without work/ a finished one
//	    making/<random>/               trees being made; emptied when the store opens
//	    gone/<number>/                 trees being deleted; emptied when the store opens
//
// A tree is unpacked in making/, compared with its diff ID, synced, renamed to its place and recorded in the
// database, in this order. A tree without record or a record without tree is dropped when the store opens.
//
// Layers are unpacked each on its own, without looking at those below, so in any order and all at once. What a layer
// leaves to those below it is known afterwards, and made good for each chain of layers in which it occurs: see Prepare.
//
// What a build makes stays where it was made: the next step lies on it, and when it has become an image's layer its folder
// is that layer's tree. Its record is written after its files are on disk, for many at once: see Settle.
package layer

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/layer/gate"
	"github.com/cove-containers/cove/layer/mark"
	"github.com/cove-containers/cove/layer/quota"
	"github.com/cove-containers/cove/state"
)

// Limits bound what a single layer may unpack to; zero is no limit.
type Limits struct{ Bytes, Entries int64 }

// Store is an open folder of layers. It is safe for concurrent use.
type Store struct {
	root   string
	layers *state.Table[layerRecord]
	fixes  *state.Table[fixRecord]
	owners *state.Table[writableRecord]
	shots  *state.Table[Snapshot]
	builts *state.Table[builtRecord]
	db     *state.DB
	limits Limits
	gone   atomic.Int64 // counts the trees deleted

	mu sync.Mutex // guards what follows; not held while files are touched
	// known is what the tables hold.
	known struct {
		layers    map[digest.Digest]layerRecord
		fixes     map[digest.Digest]fixRecord // by chain ID
		writable  map[string]writableRecord
		snapshots map[string]Snapshot
		built     map[string]builtRecord
	}
	working   map[string]*work // layers and fixes being made
	roots     map[string]*mounted
	holds     map[string]*held
	measured  map[string]int64 // what trees take on disk, by path, as far as it was asked for
	temporary map[string]bool  // folders half made or half deleted that somebody is at
	gate      gate.Gate
	quotas    *quota.Keeper
}

// layerRecord is what a layer's tree does not tell itself.
type layerRecord struct {
	Size int64
	// Implied directories lie in the tree though the layer does not list them; they may exist below.
	Implied []string `json:",omitempty"`
	// Many tells that they are too many to be listed here.
	Many bool `json:",omitempty"`
	// Reaches tells that the layer has hard links to files of those below it, on top of which it is unpacked anew.
	Reaches bool `json:",omitempty"`
	// Built names the built layer whose folder is the tree.
	Built string `json:",omitempty"`
	// RootListed tells that the layer says what the root directory is, Opaque that it hides everything below.
	RootListed, Opaque bool `json:",omitempty"`
	// Newest is the latest time of anything in it, in seconds since 1970.
	Newest int64 `json:",omitempty"`
}

// fixRecord is what was found out about a layer on top of others.
type fixRecord struct {
	// DiffIDs is the chain, the layer itself being the last.
	DiffIDs []digest.Digest
	Kind    fixKind
}

type fixKind string

const (
	fixNone    fixKind = "none"    // the layer fits as it is
	fixOver    fixKind = "over"    // directories to lay on top of it
	fixInstead fixKind = "instead" // a tree to use in its place
)

// writableRecord tells what a writable layer consists of. Its folder is writable/<id> until it is frozen or rolled back:
// then another one takes its place, in the same moment in which the record is written.
type writableRecord struct {
	DiffIDs []digest.Digest
	// Below are the frozen trees between the image's layers and its own, lowest first.
	Below []string `json:",omitempty"`
	// Tree is the folder that it writes to, where that is not the one of its ID.
	Tree string `json:",omitempty"`
}

// tree is the folder that the writable layer id writes to.
func (r writableRecord) tree(id string) string {
	if r.Tree != "" {
		return r.Tree
	}
	return id
}

// Open opens or makes the store in folder root, and removes what an earlier process left half made there.
func Open(root string, db *state.DB) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open layers: %w", err)
	}
	s := &Store{root: root, db: db, working: map[string]*work{}, roots: map[string]*mounted{}, holds: map[string]*held{}}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open layers %s: %w", root, err)
	}
	return s, nil
}

func (s *Store) open() (err error) {
	for _, dir := range []string{"", "empty", "mark", "trees", "fixes", "writable", "built", "making", "gone"} {
		if err := os.MkdirAll(s.path(dir), 0o700); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Chmod(s.path("empty"), 0o755), mark.Make(s.path("mark"))); err != nil {
		return err
	}
	if err := s.checkFormat(); err != nil {
		return err
	}
	if s.layers, err = state.NewTable[layerRecord](s.db, "layers"); err != nil {
		return err
	}
	if s.fixes, err = state.NewTable[fixRecord](s.db, "layer-fixes"); err != nil {
		return err
	}
	if s.owners, err = state.NewTable[writableRecord](s.db, "writable-layers"); err != nil {
		return err
	}
	if s.shots, err = state.NewTable[Snapshot](s.db, "snapshots"); err != nil {
		return err
	}
	if s.builts, err = state.NewTable[builtRecord](s.db, "built-layers"); err != nil {
		return err
	}
	if s.quotas, err = quota.Open(s.root, s.db); err != nil {
		return err
	}
	return s.repair()
}

// Limit sets bounds for layers that are unpacked from now on. To be called before anything else.
func (s *Store) Limit(l Limits) { s.limits = l }

// BoundAll limits what each writable layer takes on disk from now on that Bound says nothing of; 0 is no limit.
func (s *Store) BoundAll(bytes int64) error { return s.quotas.Standard(bytes) }

// Has tells whether the layer is there, whole.
func (s *Store) Has(diffID digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.known.layers[diffID]
	return ok
}

// Size is about what the layer takes on disk, 0 when it is not there.
func (s *Store) Size(diffID digest.Digest) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known.layers[diffID].Size
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.root}, parts...)...)
}

// tree is the folder of a layer's files.
func (s *Store) tree(diffID digest.Digest, record layerRecord) string {
	if record.Built != "" {
		return s.builtTree(record.Built)
	}
	return s.path("trees", diffID.Encoded())
}

func (s *Store) fix(chain digest.Digest) string { return s.path("fixes", chain.Encoded()) }

func warnRepair(what, name string) {
	slog.Warn("layers: dropped what an interrupted process left", "what", what, "name", name)
}
