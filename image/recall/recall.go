// Package recall remembers what has been read of things that never change, as far as there is room.
package recall

import (
	"sync"

	"github.com/opencontainers/go-digest"
)

// What is remembered at most, in bytes as they are in the store: one thing, and all of them.
const (
	largest = 128 << 10
	most    = 8 << 20
)

// Box remembers values by the digest of what they were read from. The zero value is empty; it is safe for concurrent use.
type Box[V any] struct {
	mu    sync.Mutex
	known map[digest.Digest]entry[V]
	size  int
}

// entry is one value; the bytes it came from were size.
type entry[V any] struct {
	value V
	size  int
}

// Get gives what is remembered of d.
func (b *Box[V]) Get(d digest.Digest) (V, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.known[d]
	return e.value, ok
}

// Put remembers value, which was read from so many bytes, and forgets any others for it when there is no room.
func (b *Box[V]) Put(d digest.Digest, value V, size int) {
	if size > largest {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known == nil {
		b.known = map[digest.Digest]entry[V]{}
	}
	b.size += size - b.known[d].size
	b.known[d] = entry[V]{value, size}
	for other, o := range b.known {
		if b.size <= most {
			return
		}
		if other != d {
			b.size -= o.size
			delete(b.known, other)
		}
	}
}
