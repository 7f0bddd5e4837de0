package cache

import (
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Lease is one build's, or one running step's, hold on layers: what is found, stored or made under it is not deleted
// until it is released. It is safe for concurrent use.
type Lease struct {
	store *Store

	mu      sync.Mutex
	names   map[string]bool // held
	trusted map[string]bool
}

// Lease begins a lease. The caller releases it.
func (s *Store) Lease() *Lease {
	return &Lease{store: s, names: map[string]bool{}}
}

// Trust lets Lookup find what came from a cache elsewhere, or was made from that. A cache that lies thus harms nobody but
// those who asked for it.
func (l *Lease) Trust(origin string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trusted == nil {
		l.trusted = map[string]bool{}
	}
	l.trusted[origin] = true
}

// Name gives a new layer its name, and holds it.
func (l *Lease) Name() string {
	name := newID()
	l.store.mu.Lock()
	l.store.made[name] = true
	l.store.mu.Unlock()
	l.Hold(name)
	return name
}

// Hold keeps layers that the caller knows to be there.
func (l *Lease) Hold(names ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	l.hold(names)
}

// hold is Hold, with both locks held.
func (l *Lease) hold(names []string) {
	for _, name := range names {
		if !l.names[name] {
			l.names[name] = true
			l.store.held[name]++
		}
	}
}

// Lookup finds what a step of this key, or one that was found to mean the same, has made, and holds its layers.
func (l *Lease) Lookup(key digest.Digest) (Record, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.store
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.keys[key]
	if !ok || slices.ContainsFunc(r.Origins, func(o string) bool { return !l.trusted[o] }) {
		return Record{}, false
	}
	l.hold(r.layers())
	s.use(r)
	return r.clone(), true
}

// use notes that somebody needs the record, and with it those that it stands on.
func (s *Store) use(r *Record) {
	now := time.Now()
	if now.Sub(r.LastUsed) > time.Second {
		r.Uses++
	}
	r.LastUsed = now
	s.writer.put(*r)
}

// Save records what the step of this key has made, in the place of an earlier record of the same key. ID, Created and
// LastUsed are set here, Kind is Regular where it is empty.
func (l *Lease) Save(key digest.Digest, r Record) Record {
	now := time.Now().UTC()
	r.ID, r.Key, r.Created, r.LastUsed, r.Size = newID(), key, now, now, -1
	if r.Kind == "" {
		r.Kind = Regular
	}
	if len(r.Own) == 0 {
		r.Size = 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.store
	s.mu.Lock()
	defer s.mu.Unlock()
	l.hold(r.layers())
	if old := s.keys[key]; old != nil && old.Key == key {
		s.replace(old)
	}
	stored := r.clone()
	s.insert(&stored)
	s.writer.put(stored)
	return r
}

// replace takes its keys from a record that a newer one stands in for. Where others stand on its layers it stays, without
// being found.
func (s *Store) replace(old *Record) {
	if slices.ContainsFunc(old.Own, func(name string) bool { return s.named[name] > 1 || s.held[name] > 0 }) {
		delete(s.keys, old.Key)
		return
	}
	s.remove(old)
	s.writer.drop(old.ID)
	s.orphans = append(s.orphans, old.Own...)
}

// Alias remembers that a step of key from makes what that of key to has made. An earlier meaning of from is forgotten.
func (l *Lease) Alias(from, to digest.Digest) {
	s := l.store
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.keys[to]
	if !ok || s.keys[from] == r {
		return
	}
	if old := s.keys[from]; old != nil {
		old.Aliases = slices.DeleteFunc(old.Aliases, func(a digest.Digest) bool { return a == from })
		s.writer.put(*old)
	}
	r.Aliases = append(r.Aliases, from)
	if len(r.Aliases) > maxAliases {
		if s.keys[r.Aliases[0]] == r {
			delete(s.keys, r.Aliases[0])
		}
		r.Aliases = slices.Delete(r.Aliases, 0, 1)
	}
	s.keys[from] = r
	s.writer.put(*r)
}

// Release ends the lease and tells which layers are in no record and held by nobody: those named under it and not saved,
// and those of records that newer ones took the place of. The caller deletes them. Doing it again does nothing.
func (l *Lease) Release() (orphans []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range l.names {
		if s.held[name]--; s.held[name] == 0 {
			delete(s.held, name)
		}
		if s.made[name] && s.held[name] == 0 && s.named[name] == 0 {
			delete(s.made, name)
			orphans = append(orphans, name)
		}
	}
	l.names = map[string]bool{}
	orphans = append(orphans, s.unneeded()...)
	slices.Sort(orphans)
	return slices.Compact(orphans)
}

// unneeded takes from the orphans those that nobody holds, for the caller to delete. What records name again is none.
func (s *Store) unneeded() (layers []string) {
	var still []string
	for _, name := range s.orphans {
		switch {
		case s.named[name] > 0:
		case s.held[name] > 0:
			still = append(still, name)
		default:
			layers = append(layers, name)
		}
	}
	s.orphans = still
	return layers
}
