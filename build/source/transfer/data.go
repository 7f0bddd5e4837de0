package transfer

import (
	"context"
	"crypto/sha256"
	"hash"
	"os"
	"path"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil/types"

	"github.com/cove-containers/cove/sys"
)

// maxOpen is how many files a client may send at once; fsutil sends four.
const maxOpen = 64

// file is one that was asked for.
type file struct {
	entry entry
	fd    sys.FD // NoFD until its first byte comes, and as long as it is what it was
	sum   hash.Hash

	was *same    // what it looks like; nil when it is known to be new
	old *os.File // that, read so far as it was the same
	at  int64    // how far that is
}

// ask has the client send the content of a file.
func (r *receiver) ask(e entry) {
	r.waiting[r.next] = &file{entry: e, fd: sys.NoFD}
	r.asked.add(r.next)
}

// data takes a piece of a file; an empty one is its end.
func (r *receiver) data(p *types.Packet) error {
	f := r.waiting[p.ID]
	if f == nil {
		return invalid("file %d was not asked for", p.ID)
	}
	if f.fd == sys.NoFD {
		if f.old == nil && r.open == maxOpen {
			return invalid("more than %d files at once", maxOpen)
		}
		if done, err := r.compare(f, p); done || err != nil {
			return err
		}
		if err := r.create(f); err != nil {
			return err
		}
	}
	if len(p.Data) > 0 {
		return r.write(f, p.Data)
	}
	delete(r.waiting, p.ID)
	err := f.entry.apply(f.fd, "")
	if e := f.fd.Close(); err == nil {
		err = e
	}
	r.open--
	r.result.Contents[f.entry.path] = digest.NewDigest(digest.SHA256, f.sum)
	return err
}

func (r *receiver) write(f *file, data []byte) error {
	if _, err := r.room.Write(data); err != nil {
		return err
	}
	f.sum.Write(data)
	_, err := f.fd.Write(data)
	return err
}

func (r *receiver) create(f *file) error {
	err := r.within(f.entry.path, func(dir sys.FD, name string) (err error) {
		f.fd, err = sys.CreateAt(dir, path.Base(name), 0o600)
		if err == nil {
			r.open++
			f.sum = sha256.New()
		}
		return err
	})
	if err != nil || f.old == nil {
		return err
	}
	return r.takeOver(f)
}

// closeFiles closes what a failure has left open.
func (r *receiver) closeFiles() {
	for _, f := range r.waiting {
		f.fd.Close()
		if f.old != nil {
			f.old.Close()
		}
	}
}

// queue has what is to be sent to the client: it must not hold up those who read, for the client reads no faster than it
// is read from.
type queue struct {
	mu   sync.Mutex
	wake chan struct{}
	ids  []uint32
	last *types.Packet // what to say when the ids are through
	shut bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) change(do func()) {
	q.mu.Lock()
	do()
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) add(id uint32) { q.change(func() { q.ids = append(q.ids, id) }) }

func (q *queue) finish() { q.change(func() { q.last = &types.Packet{Type: types.PACKET_FIN} }) }

func (q *queue) fail(err error) {
	q.change(func() {
		q.ids, q.last = nil, &types.Packet{Type: types.PACKET_ERR, Data: []byte(err.Error())}
	})
}

func (q *queue) close() { q.change(func() { q.shut = true }) }

// send sends what comes into the queue until it is closed.
func (q *queue) send(ctx context.Context, stream Stream) error {
	for {
		q.mu.Lock()
		ids, last, shut := q.ids, q.last, q.shut
		q.ids = nil
		if len(ids) == 0 {
			q.last = nil
		}
		q.mu.Unlock()
		for _, id := range ids {
			if err := stream.Send(&types.Packet{Type: types.PACKET_REQ, ID: id}); err != nil {
				return err
			}
		}
		if len(ids) > 0 {
			continue
		}
		if last != nil {
			if err := stream.Send(last); err != nil {
				return err
			}
			continue
		}
		if shut {
			return nil
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return nil
		}
	}
}
