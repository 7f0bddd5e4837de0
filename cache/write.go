package cache

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cove-containers/cove/state"
)

// writeBehind is how long a record waits for others to be written with.
const writeBehind = 500 * time.Millisecond

// writer brings records to the disk, some at a time, after what they name.
type writer struct {
	db    *state.DB
	table *state.Table[*Record]
	sync  func() error

	mu      sync.Mutex
	pending map[string]*Record // nil: to be deleted
	fresh   bool               // some of them name layers that are not known to be on the disk
	timer   *time.Timer
	writing sync.Mutex
}

// put leaves a record, or its newer version, to be written.
func (w *writer) put(r Record) {
	c := r.clone()
	w.leave(c.ID, &c)
}

func (w *writer) drop(id string) { w.leave(id, nil) }

func (w *writer) leave(id string, r *Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending == nil {
		w.pending = map[string]*Record{}
	}
	w.pending[id] = r
	if r != nil && r.Uses == 0 {
		w.fresh = true
	}
	if w.timer == nil {
		w.timer = time.AfterFunc(writeBehind, func() {
			if err := w.flush(); err != nil {
				slog.Error("could not write the records of the build cache", "error", err)
			}
		})
	}
}

// flush writes what was left so far.
func (w *writer) flush() error {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.mu.Lock()
	batch, fresh := w.pending, w.fresh
	w.pending, w.fresh = nil, false
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	w.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	if fresh && w.sync != nil {
		if err := w.sync(); err != nil {
			err = errors.Join(err, w.write(batch, false))
			w.again(batch)
			return err
		}
	}
	return w.write(batch, true)
}

// again leaves what could not be written for the next time, where there is nothing newer.
func (w *writer) again(batch map[string]*Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending == nil {
		w.pending = map[string]*Record{}
	}
	for id, r := range batch {
		if _, newer := w.pending[id]; !newer && r != nil {
			w.pending[id], w.fresh = r, true
		}
	}
}

// write writes a batch in one transaction; without puts only what is to be deleted.
func (w *writer) write(batch map[string]*Record, puts bool) error {
	return w.db.Update(func(tx *state.Tx) error {
		for id, r := range batch {
			if r == nil {
				if err := w.table.DeleteIn(tx, id); err != nil {
					return err
				}
				continue
			}
			if !puts {
				continue
			}
			if err := w.table.PutIn(tx, id, r); err != nil {
				return err
			}
		}
		return nil
	})
}
