// Package lease protects blobs and layers that no name reaches yet from those who sweep.
package lease

import (
	"sync"

	"github.com/opencontainers/go-digest"
)

// Book is all leases of a store. What is released while a sweep runs stays protected until its end: the sweep may have
// looked at the names before it was named. The zero Book is ready.
type Book struct {
	mu       sync.Mutex
	count    map[digest.Digest]int
	sweeping bool
	late     []digest.Digest
}

// Has tells whether somebody protects d.
func (b *Book) Has(d digest.Digest) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count[d] > 0
}

// UnlessHeld runs remove unless d is protected, and lets nobody protect it meanwhile.
func (b *Book) UnlessHeld(d digest.Digest, remove func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.count[d] > 0 {
		return nil
	}
	return remove()
}

// Sweep marks the time of a sweep; the result ends it.
func (b *Book) Sweep() (end func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweeping = true
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.sweeping = false
		b.drop(b.late)
		b.late = nil
	}
}

func (b *Book) drop(digests []digest.Digest) {
	for _, d := range digests {
		if b.count[d]--; b.count[d] <= 0 {
			delete(b.count, d)
		}
	}
}

// New gives a lease that protects nothing yet.
func (b *Book) New() *Lease { return &Lease{of: b} }

// Lease is what one deed protects. It is safe for concurrent use.
type Lease struct {
	of   *Book
	held []digest.Digest
}

// Add protects digests of blobs or layers, whether they exist yet or not. From its return on none of them is removed that is
// found to be here afterwards.
func (l *Lease) Add(digests ...digest.Digest) {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if l.of.count == nil {
		l.of.count = map[digest.Digest]int{}
	}
	for _, d := range digests {
		l.of.count[d]++
	}
	l.held = append(l.held, digests...)
}

// Release ends the protection. What has got a name by then stays.
func (l *Lease) Release() {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if l.of.sweeping {
		l.of.late = append(l.of.late, l.held...)
	} else {
		l.of.drop(l.held)
	}
	l.held = nil
}

// Empty tells that nothing was ever added, or all is released.
func (l *Lease) Empty() bool {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	return len(l.held) == 0
}
