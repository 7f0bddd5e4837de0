package state

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// writeBehind is how long what was left for later waits for a transaction to travel with.
const writeBehind = 50 * time.Millisecond

// changes are the writes on their way to the disk. Whoever comes while nobody writes writes at once, and takes along
// what was left for later; those who come meanwhile are written together by the first of them.
type changes struct {
	mu        sync.Mutex
	busy      bool
	waiting   []*change
	postponed []*change
	timer     *time.Timer
}

// change is one function that wants a transaction.
type change struct {
	fn func(tx *Tx) error
	// done gets what came of it; turn tells a waiting one that it is to write for all.
	done chan error
	turn chan struct{}
}

func newChange(fn func(tx *Tx) error) *change {
	return &change{fn: fn, done: make(chan error, 1), turn: make(chan struct{}, 1)}
}

// finish tells the outcome; only the first counts.
func (c *change) finish(err error) {
	select {
	case c.done <- err:
	default:
	}
}

// now returns once fn's writes are on disk.
func (cs *changes) now(db *bolt.DB, fn func(tx *Tx) error) error {
	c := newChange(fn)
	cs.mu.Lock()
	cs.waiting = append(cs.waiting, c)
	if !cs.busy {
		cs.busy = true
		c.turn <- struct{}{}
	}
	cs.mu.Unlock()
	select {
	case err := <-c.done:
		return err
	case <-c.turn:
	}
	cs.write(db)
	return <-c.done
}

// later leaves fn to the next one who writes.
func (cs *changes) later(db *bolt.DB, fn func(tx *Tx) error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.postponed = append(cs.postponed, newChange(fn))
	if cs.timer == nil {
		cs.timer = time.AfterFunc(writeBehind, func() {
			if err := cs.flush(db); err != nil {
				slog.Error("could not write to the database", "error", err)
			}
		})
	}
}

// flush writes what was left for later, if nobody has.
func (cs *changes) flush(db *bolt.DB) error {
	cs.mu.Lock()
	left := len(cs.postponed) > 0
	cs.mu.Unlock()
	if !left {
		return nil
	}
	return cs.now(db, func(*Tx) error { return nil })
}

func (cs *changes) close(db *bolt.DB) error {
	cs.mu.Lock()
	if cs.timer != nil {
		cs.timer.Stop()
	}
	cs.mu.Unlock()
	return cs.flush(db)
}

// write writes what is there and gives the turn to the next.
func (cs *changes) write(db *bolt.DB) {
	cs.mu.Lock()
	batch := slices.Concat(cs.postponed, cs.waiting)
	postponed := len(cs.postponed)
	cs.postponed, cs.waiting = nil, nil
	if cs.timer != nil {
		cs.timer.Stop()
		cs.timer = nil
	}
	cs.mu.Unlock()
	defer cs.pass()
	commit(db, batch)
	for _, c := range batch[:postponed] {
		if err := <-c.done; err != nil {
			slog.Error("could not write to the database", "error", err)
		}
	}
}

// pass gives the turn to the first who waits.
func (cs *changes) pass() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if len(cs.waiting) == 0 {
		cs.busy = false
		return
	}
	cs.waiting[0].turn <- struct{}{}
}

var errAborted = errors.New("transaction was aborted")

// commit runs a batch in one transaction. One that fails is run again by itself, for its own error, and the others
// without it.
func commit(db *bolt.DB, batch []*change) {
	defer func() {
		for _, c := range batch { // a panic must not leave anybody waiting
			c.finish(errAborted)
		}
	}()
	rest := slices.Clone(batch)
	for len(rest) > 0 {
		failed := -1
		err := db.Update(func(tx *bolt.Tx) error {
			for i, c := range rest {
				if err := c.fn(&Tx{tx}); err != nil {
					failed = i
					return err
				}
			}
			return nil
		})
		if failed < 0 || len(rest) == 1 {
			for _, c := range rest {
				c.finish(err)
			}
			return
		}
		alone := rest[failed]
		rest = slices.Delete(rest, failed, failed+1)
		alone.finish(db.Update(func(tx *bolt.Tx) error { return alone.fn(&Tx{tx}) }))
	}
}
