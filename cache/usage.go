package cache

import (
	"context"
	"slices"
	"sort"
	"time"
)

// Usage is a record as clients are shown it.
type Usage struct {
	Record
	// Parents are the IDs of the records whose layers this one stands on directly.
	Parents []string
	// InUse records belong to a build under way; Shared ones are stood on by others, or are images that would stay.
	InUse, Shared bool
	// Mutable records are folders that builds write into.
	Mutable bool
}

// List lists all records and the folders of cache mounts, what was used last first. Sizes that are not known yet are
// measured.
func (s *Store) List(ctx context.Context) ([]Usage, error) {
	s.measure()
	out := s.list()
	if s.config.Mounts != nil {
		folders, inUse, err := s.config.Mounts.List(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range folders {
			out = append(out, Usage{Record: r, InUse: inUse[r.ID], Mutable: true})
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if !out[i].LastUsed.Equal(out[j].LastUsed) {
			return out[i].LastUsed.After(out[j].LastUsed)
		}
		return out[i].ID < out[j].ID
	})
	return out, nil
}

func (s *Store) list() []Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	owner := map[string]string{}
	for _, r := range s.records {
		for _, name := range r.Own {
			owner[name] = r.ID
		}
	}
	out := make([]Usage, 0, len(s.records))
	for _, r := range s.records {
		u := Usage{Record: r.clone(), Parents: r.parents(owner)}
		for _, name := range r.Own {
			u.Shared = u.Shared || s.named[name] > 1
			u.InUse = u.InUse || s.held[name] > 0
		}
		out = append(out, u)
	}
	return out
}

// parents are the records that own the topmost of the layers below this record's own, for each of its outputs.
func (r *Record) parents(owner map[string]string) []string {
	var out []string
	for _, p := range r.Piles {
		for i := len(p) - 1; i >= 0; i-- {
			if id := owner[p[i]]; id != "" && id != r.ID {
				out = append(out, id)
				break
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// measure finds out sizes that are not known yet.
func (s *Store) measure() {
	if s.config.Measure == nil {
		return
	}
	todo := map[string][]string{}
	s.mu.Lock()
	for id, r := range s.records {
		if r.Size < 0 {
			todo[id] = slices.Clone(r.Own)
		}
	}
	s.mu.Unlock()
	for id, names := range todo {
		var sum int64
		known := true
		for _, name := range names {
			n, err := s.config.Measure(name)
			if err != nil { // going away at this moment
				known = false
				break
			}
			sum += n
		}
		if !known {
			continue
		}
		s.mu.Lock()
		if r, ok := s.records[id]; ok && r.Size < 0 {
			r.Size = sum
			s.writer.put(*r)
		}
		s.mu.Unlock()
	}
}

// Wish says what Prune deletes. Without bounds it is everything that matches and nobody uses.
type Wish struct {
	// Match tells which records may go; nil: all.
	Match func(Usage) bool
	// Unused is for how long a record must not have been used.
	Unused time.Duration
	// Down is how many bytes all records may take afterwards; negative: none need stay. Those used longest ago go first.
	Down int64
}

// Prune forgets records, and tells which layers are to be deleted with them. Records that others stand on go after those.
func (s *Store) Prune(ctx context.Context, w Wish) (gone []Usage, layers []string, err error) {
	list, err := s.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	var total int64
	for _, u := range list {
		total += max(u.Size, 0)
	}
	now := time.Now()
	slices.Reverse(list) // used longest ago first
	for again := true; again && ctx.Err() == nil; {
		again = false
		for i, u := range list {
			if u.ID == "" || w.Down >= 0 && total <= w.Down || now.Sub(u.LastUsed) < w.Unused || w.Match != nil && !w.Match(u) {
				continue
			}
			freed, ok := s.forget(u)
			if !ok {
				continue
			}
			gone, layers = append(gone, u), append(layers, freed...)
			total -= max(u.Size, 0)
			list[i].ID = ""
			again = true
		}
	}
	return gone, layers, nil
}

// forget drops a record that no build uses and no other record stands on.
func (s *Store) forget(u Usage) (layers []string, ok bool) {
	if u.Mutable {
		return nil, s.config.Mounts.Remove(u.ID) == nil // or somebody has taken it
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[u.ID]
	if !ok {
		return nil, false
	}
	for _, name := range r.Own {
		if s.named[name] > 1 || s.held[name] > 0 {
			return nil, false
		}
	}
	s.remove(r)
	s.writer.drop(r.ID)
	return slices.Clone(r.Own), true
}

// Size is what everything in the cache takes together.
func (s *Store) Size(ctx context.Context) (int64, error) {
	list, err := s.List(ctx)
	var total int64
	for _, u := range list {
		total += max(u.Size, 0)
	}
	return total, err
}
