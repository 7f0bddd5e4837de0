package container

import "sync"

// Removals are the containers being removed, and those that must not remove themselves just now.
type Removals struct {
	mu   sync.Mutex
	ids  map[string]bool
	kept map[string]int
}

// NewRemovals makes them, none.
func NewRemovals() *Removals { return &Removals{ids: map[string]bool{}, kept: map[string]int{}} }

// Begin makes the caller the only one removing id. first is false when another does already.
func (r *Removals) Begin(id string) (done func(), first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids[id] {
		return nil, false
	}
	r.ids[id] = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.ids, id)
	}, true
}

// Hold keeps a container from removing itself at its end, until the caller lets go.
func (r *Removals) Hold(id string) (letGo func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept[id]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.kept[id]--; r.kept[id] == 0 {
			delete(r.kept, id)
		}
	}
}

// Underway tells whether somebody else decides what becomes of the container after its end.
func (r *Removals) Underway(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids[id] || r.kept[id] > 0
}
