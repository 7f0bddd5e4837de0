package blob

import (
	"fmt"
	"os"
	"sync"

	"github.com/cove-containers/cove/sys"
)

// together is from how many blobs on one sync of the whole file system is quicker than one of each.
const together = 4

// commits brings blobs that are complete into the store, durable, as many at once as are waiting: the first who comes does it for
// those who come meanwhile, too.
type commits struct {
	mu      sync.Mutex
	busy    bool
	waiting []*commit
}

type commit struct {
	w    *Writer
	done chan error
}

// add brings one in, and returns when it is there.
func (c *commits) add(w *Writer) error {
	one := &commit{w, make(chan error, 1)}
	c.mu.Lock()
	c.waiting = append(c.waiting, one)
	lead := !c.busy
	c.busy = true
	c.mu.Unlock()
	for lead {
		c.mu.Lock()
		batch := c.waiting
		c.waiting = nil
		if lead = len(batch) > 0; !lead {
			c.busy = false
		}
		c.mu.Unlock()
		move(batch)
	}
	return <-one.done
}

// move syncs what was written, moves it into the store, and syncs that.
func move(batch []*commit) {
	failed := syncAll(batch)
	var moved []*commit
	for i, one := range batch {
		err := failed[i]
		var target string
		if err == nil {
			if target, err = one.w.store.path(one.w.digest); err == nil {
				err = os.Rename(one.w.part, target)
			}
		}
		if err != nil {
			one.done <- fmt.Errorf("commit blob %s: %w", one.w.digest, err)
			continue
		}
		one.w.store.twin(one.w.digest, target)
		moved = append(moved, one)
	}
	if len(moved) == 0 {
		return
	}
	err := syncDir(moved[0].w.store.blobs)
	for _, one := range moved {
		one.done <- err
	}
}

func syncAll(batch []*commit) []error {
	failed := make([]error, len(batch))
	if len(batch) >= together {
		err := sys.SyncFileSystem(sys.Borrow(batch[0].w.file))
		for i := range failed {
			failed[i] = err
		}
		return failed
	}
	for i, one := range batch {
		failed[i] = one.w.file.Sync()
	}
	return failed
}
