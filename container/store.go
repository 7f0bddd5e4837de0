package container

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/state"
)

// writeBehind is how long a change that a shim could tell again may stay in memory only.
const writeBehind = 50 * time.Millisecond

// Store holds every record. It is safe for concurrent use; none of its methods calls out while it is locked.
type Store struct {
	table *state.Table[Container]
	db    *state.DB

	mu      sync.RWMutex
	entries map[string]*entry
	names   map[string]string // name → ID, also of containers still being made
	noted   map[string]bool   // IDs whose record, or whose absence, is to be written
	writer  *time.Timer
	closed  bool
	writing sync.WaitGroup

	flushing sync.Mutex // one Flush at a time, so that each returns when all is written
}

// entry is one container in memory.
type entry struct {
	record  *Container
	deed    deedLock
	waiters waiters
}

// Open reads all records of db.
func Open(db *state.DB) (*Store, error) {
	table, err := state.NewTable[Container](db, "containers")
	if err != nil {
		return nil, err
	}
	all, err := table.All()
	if err != nil {
		return nil, err
	}
	s := &Store{
		table: table, db: db,
		entries: map[string]*entry{}, names: map[string]string{}, noted: map[string]bool{},
	}
	for id, c := range all {
		s.entries[id] = newEntry(&c)
		s.names[c.Name] = id
	}
	return s, nil
}

func newEntry(c *Container) *entry { return &entry{record: c, deed: newDeedLock()} }

// Get finds a container by ID, name (with or without the leading slash) or a prefix of its ID that is unique.
// Errors are errdefs.ErrNotFound, and errdefs.ErrInvalidArgument for a prefix of several.
func (s *Store) Get(ref string) (*Container, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if ref == "" {
		return nil, fmt.Errorf("No such container: %w", errdefs.ErrNotFound)
	}
	if e := s.entries[ref]; e != nil {
		return e.record, nil
	}
	if e := s.entries[s.names[strings.TrimPrefix(ref, "/")]]; e != nil {
		return e.record, nil
	}
	var found *Container
	for id, e := range s.entries {
		if !strings.HasPrefix(id, ref) {
			continue
		}
		if found != nil {
			return nil, invalid("multiple IDs found with provided prefix: %s", ref)
		}
		found = e.record
	}
	if found == nil {
		return nil, noSuch(ref)
	}
	return found, nil
}

// List returns every record, the newest first.
func (s *Store) List() []*Container {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*Container, 0, len(s.entries))
	for _, e := range s.entries {
		all = append(all, e.record)
	}
	slices.SortFunc(all, func(a, b *Container) int { return b.Created.Compare(a.Created) })
	return all
}

// Create makes c durable. Its name must have been reserved for its ID.
func (s *Store) Create(c *Container) error {
	if err := s.table.Put(c.ID, *c); err != nil {
		return fmt.Errorf("record container: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[c.ID] = newEntry(c)
	return nil
}

// Change replaces the record of id by what fn makes of a copy of it, durably, and returns it. When fn fails
// nothing changes. The copy is shallow: fn puts new maps, slices and pointers in place of old ones.
func (s *Store) Change(id string, fn func(*Container) error) (*Container, error) {
	before, c, err := s.swap(id, fn)
	if err != nil {
		return nil, err
	}
	if err := s.save(map[string]bool{id: true}); err != nil {
		s.putBack(id, before, c)
		return before, err
	}
	return c, nil
}

// putBack undoes a change that could not be written, unless another was made on top of it.
func (s *Store) putBack(id string, before, after *Container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[id]; e != nil && e.record == after {
		e.record = before
	}
}

// Note is Change for what a shim could tell again after a crash: the record is written a moment later.
func (s *Store) Note(id string, fn func(*Container) error) (*Container, error) {
	_, c, err := s.swap(id, fn)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.later(id)
	return c, nil
}

// Keep is Change in memory only: for what has no place on disk (health logs, that a removal goes on).
func (s *Store) Keep(id string, fn func(*Container) error) (*Container, error) {
	_, c, err := s.swap(id, fn)
	return c, err
}

func (s *Store) swap(id string, fn func(*Container) error) (before, after *Container, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	if e == nil {
		return nil, nil, noSuch(id)
	}
	c := *e.record
	if err := fn(&c); err != nil {
		return nil, nil, err
	}
	before, e.record = e.record, &c
	e.waiters.changed(before.State, c.State)
	return before, &c, nil
}

// Delete forgets id: its record and its name are gone when it returns, durably. Whoever waits for the removal
// is told. Deleting what is absent is no error.
func (s *Store) Delete(id string) error {
	if !s.forget(id) {
		return nil
	}
	return s.save(map[string]bool{id: true})
}

// Drop is Delete for a container that the next start of the engine would remove anyway (it ended, and removes
// itself): the absence is written a moment later.
func (s *Store) Drop(id string) {
	if !s.forget(id) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.later(id)
}

func (s *Store) forget(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	if e == nil {
		return false
	}
	delete(s.entries, id)
	if s.names[e.record.Name] == id {
		delete(s.names, e.record.Name)
	}
	e.waiters.removed(e.record.State)
	return true
}

// later plans to write id; s.mu is held.
func (s *Store) later(id string) {
	if s.closed {
		return
	}
	s.noted[id] = true
	if s.writer == nil {
		s.writing.Add(1)
		s.writer = time.AfterFunc(writeBehind, func() {
			defer s.writing.Done()
			s.Flush()
		})
	}
}

// Flush returns when everything noted so far is written. What cannot be written stays noted for the next time.
func (s *Store) Flush() error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.mu.Lock()
	ids := s.noted
	s.noted = map[string]bool{}
	s.writer = nil
	s.mu.Unlock()
	err := s.save(ids)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		maps.Copy(s.noted, ids)
	}
	return err
}

// Close writes what was noted and stops writing behind.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.writer != nil && s.writer.Stop() {
		s.writing.Done()
	}
	s.mu.Unlock()
	s.writing.Wait()
	return s.Flush()
}

// save writes the records of ids as they are now, or removes those that are gone, in one transaction. The
// records are read inside it, so that of two writers the later one never puts back an older record.
func (s *Store) save(ids map[string]bool) error {
	if len(ids) == 0 {
		return nil
	}
	err := s.db.Update(func(tx *state.Tx) error {
		for id, c := range s.snapshot(ids) {
			var err error
			if c == nil {
				err = s.table.DeleteIn(tx, id)
			} else {
				err = s.table.PutIn(tx, id, *c)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record containers %s: %w", strings.Join(slices.Sorted(maps.Keys(ids)), " "), err)
	}
	return nil
}

func (s *Store) snapshot(ids map[string]bool) map[string]*Container {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make(map[string]*Container, len(ids))
	for id := range ids {
		out[id] = nil
		if e := s.entries[id]; e != nil {
			out[id] = e.record
		}
	}
	return out
}

// Making tells whether a container with this ID is being made: it has a name and no record yet.
func (s *Store) Making(id string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.entries[id] != nil {
		return false
	}
	for _, owner := range s.names {
		if owner == id {
			return true
		}
	}
	return false
}
