// Package cache remembers what builds have made: which step, by its key, gave which file systems. It knows the layers
// of those file systems by name only; what is to be deleted it tells, and whoever keeps layers deletes it.
//
// In the database:
//
//	build.records      id → Record
//
// A record is there for other builds at once, and in the database a moment later: when the file system that the layers
// lie on has been synced, once for as many steps as have come meanwhile. Power loss takes away the last steps, never
// leaves a record of half a tree; layers without a record are deleted at the next start.
package cache

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/state"
)

// Kinds of records, as BuildKit's clients know them.
const (
	Regular   = "regular"
	Local     = "source.local"
	Git       = "source.git.checkout"
	ExecMount = "exec.cachemount"
	FrontEnd  = "frontend"
	Internal  = "internal"
)

// A Record is what one step has made.
type Record struct {
	ID          string          // 25 letters and digits, as clients show and ask for it
	Key         digest.Digest   // the step's, its inputs among it
	Aliases     []digest.Digest // other keys that were found to mean the same; the newest last
	Kind        string
	Description string
	Piles       [][]string        // for each output the layers it consists of, lowest first
	Own         []string          // the layers that this step has made: they go when the record goes and no other names them
	Origins     []string          `json:",omitempty"` // caches elsewhere that it, or what it was made from, came from; see Lease.Trust
	Notes       map[string]string `json:",omitempty"` // what the step wants to know of itself next time, such as an ETag
	Size        int64             // of Own; -1 as long as nobody has measured it
	Created     time.Time
	LastUsed    time.Time
	Uses        int
}

// clone keeps what callers do with a record away from the store.
func (r *Record) clone() Record {
	c := *r
	c.Aliases, c.Own = slices.Clone(r.Aliases), slices.Clone(r.Own)
	c.Piles = slices.Clone(r.Piles)
	return c
}

// maxAliases bounds what a record remembers of keys that led to it.
const maxAliases = 32

// Config says how the store reaches what it does not own. Every field may be empty.
type Config struct {
	// Sync returns when all layers written so far are on the disk.
	Sync func() error
	// Measure tells what a layer takes on the disk.
	Measure func(layer string) (int64, error)
	// Mounts are listed and pruned with the records; nil: there are none.
	Mounts *Mounts
}

// Store is the open cache. It is safe for concurrent use.
type Store struct {
	config Config
	table  *state.Table[*Record]
	writer writer

	mu      sync.Mutex
	records map[string]*Record        // by ID
	keys    map[digest.Digest]*Record // by key and by alias
	named   map[string]int            // how many records name a layer
	held    map[string]int            // how many leases hold a layer
	made    map[string]bool           // names that were given out and are in no record yet
	orphans []string                  // layers of records that newer ones took the place of
}

// Open opens the cache in db. What it remembers is compared with what is there by Reconcile.
func Open(db *state.DB, config Config) (*Store, error) {
	table, err := state.NewTable[*Record](db, "build.records")
	if err != nil {
		return nil, err
	}
	s := &Store{
		config: config, table: table,
		records: map[string]*Record{}, keys: map[digest.Digest]*Record{},
		named: map[string]int{}, held: map[string]int{}, made: map[string]bool{},
	}
	s.writer = writer{db: db, table: table, sync: config.Sync}
	all, err := table.All()
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		s.insert(r)
	}
	return s, nil
}

// Mounts are the folders of cache mounts; nil when there are none.
func (s *Store) Mounts() *Mounts { return s.config.Mounts }

// Close writes what is not written yet.
func (s *Store) Close() error { return s.writer.flush() }

// insert takes a record in; a key that already leads to another one leads to it from now on.
func (s *Store) insert(r *Record) {
	s.records[r.ID] = r
	if at := s.keys[r.Key]; at == nil || at.Created.Before(r.Created) {
		s.keys[r.Key] = r
	}
	for _, a := range r.Aliases {
		if at := s.keys[a]; at == nil || at.Created.Before(r.Created) {
			s.keys[a] = r
		}
	}
	for _, name := range r.layers() {
		s.named[name]++
		delete(s.made, name)
	}
}

// remove forgets a record in memory.
func (s *Store) remove(r *Record) {
	delete(s.records, r.ID)
	for _, k := range append([]digest.Digest{r.Key}, r.Aliases...) {
		if s.keys[k] == r {
			delete(s.keys, k)
		}
	}
	for _, name := range r.layers() {
		if s.named[name]--; s.named[name] == 0 {
			delete(s.named, name)
		}
	}
}

// layers are the names that the record mentions, each once.
func (r *Record) layers() []string {
	all := slices.Clone(r.Own)
	for _, p := range r.Piles {
		all = append(all, p...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Holds tells whether the cache or a running build needs the layer: nobody else may delete it.
func (s *Store) Holds(layer string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named[layer] > 0 || s.held[layer] > 0 || s.made[layer]
}

// Reconcile drops the records of piles whose layers are not all there. To be called at the start, before the first lease.
func (s *Store) Reconcile(stands func(pile []string) bool) (dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if !slices.ContainsFunc(r.Piles, func(pile []string) bool { return !stands(pile) }) {
			continue
		}
		s.remove(r)
		s.writer.drop(r.ID)
		dropped++
	}
	return dropped
}

// Discard drops a record of what is not there any more, whatever stands on it, and tells which of its layers nobody needs: the
// caller deletes them. Those that builds still hold are told when these release them.
func (s *Store) Discard(id string) (layers []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[id]
	if !ok {
		return nil
	}
	s.remove(r)
	s.writer.drop(r.ID)
	s.orphans = append(s.orphans, r.Own...)
	return s.unneeded()
}

// Get returns the record with this ID.
func (s *Store) Get(id string) (Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[id]
	if !ok {
		return Record{}, fmt.Errorf("no build cache record %q: %w", id, errdefs.ErrNotFound)
	}
	return r.clone(), nil
}

// newID is a name nobody has yet, of 25 lower-case letters and digits.
func newID() string {
	return strings.ToLower(rand.Text())[:25]
}
