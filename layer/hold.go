package layer

import (
	"fmt"
	"time"

	"github.com/containerd/errdefs"
)

// Hold is a use of a writable layer by others than its container: files are being copied into it or out of it.
type Hold struct {
	// Gone is closed when the layer is deleted or rolled back: whatever is done with its files should end.
	Gone <-chan struct{}
	// Wanted is closed when somebody waits for a Hold with writes to be released.
	Wanted  <-chan struct{}
	release func()
}

// Release ends the use. Doing it again does nothing.
func (h *Hold) Release() { h.release() }

// held is who uses a writable layer at the moment.
type held struct {
	users, writers int
	gone, wanted   chan struct{}
	quiet          chan struct{} // closed when nobody writes any more
}

// Hold registers a use of the writable layer id, by whatever mount. While one with writes is not released, Overlay
// waits.
func (s *Store) Hold(id string, writes bool) (*Hold, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, writable := s.known.writable[id]
	if _, built := s.known.built[id]; !writable && !built {
		return nil, fmt.Errorf("writable layer %s: %w", id, errdefs.ErrNotFound)
	}
	h := s.holds[id]
	if h == nil {
		h = &held{gone: make(chan struct{}), wanted: make(chan struct{}), quiet: make(chan struct{})}
		s.holds[id] = h
	}
	h.users++
	if writes {
		h.writers++
	}
	released := false
	return &Hold{Gone: h.gone, Wanted: h.wanted, release: func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !released {
			released = true
			s.release(id, h, writes)
		}
	}}, nil
}

// release takes one use off; s.mu is held.
func (s *Store) release(id string, h *held, writes bool) {
	h.users--
	if writes {
		h.writers--
	}
	if writes && h.writers == 0 {
		close(h.quiet)
		h.quiet, h.wanted = make(chan struct{}), make(chan struct{})
	}
	if h.users == 0 && s.holds[id] == h {
		delete(s.holds, id)
	}
}

// quiet returns when nobody writes into the layer, and asks who does to come to an end.
func (s *Store) quiet(id string) {
	for {
		s.mu.Lock()
		h := s.holds[id]
		if h == nil || h.writers == 0 {
			delete(s.roots, id) // what is mounted would not see what the container writes from now on
			s.mu.Unlock()
			return
		}
		wait := h.quiet
		select {
		case <-h.wanted:
		default:
			close(h.wanted)
		}
		s.mu.Unlock()
		<-wait
	}
}

// drive tells everybody who uses the layer that its files are going, and gives those who write into it time to leave, so that
// nothing comes into what is being deleted.
func (s *Store) drive(id string) {
	s.mu.Lock()
	h := s.holds[id]
	delete(s.holds, id)
	delete(s.roots, id)
	if h == nil {
		s.mu.Unlock()
		return
	}
	close(h.gone)
	writing, left := h.writers > 0, h.quiet
	s.mu.Unlock()
	if !writing {
		return
	}
	select {
	case <-left:
	case <-time.After(timeToLeave):
	}
}

// timeToLeave is more than a copy needs to notice that it has to end.
const timeToLeave = 3 * time.Second
