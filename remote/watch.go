package remote

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// answerTime is how long a registry may think about a body it has got whole: it may have to copy it.
const answerTime = 10 * time.Minute

// watch ends an exchange in which nothing moves for too long.
type watch struct {
	limit time.Duration
	timer *time.Timer
	fired atomic.Bool
}

func newWatch(limit time.Duration, cancel context.CancelCauseFunc) *watch {
	w := &watch{limit: limit}
	w.timer = time.AfterFunc(time.Hour, func() {
		w.fired.Store(true)
		cancel(errStalled)
	})
	w.timer.Stop()
	return w
}

func (w *watch) start() { w.timer.Reset(w.limit) }

// stop ends the watch for now and gives err its right name when it was the watch that brought it about.
func (w *watch) stop(err error) error {
	if !w.timer.Stop() && err != nil && w.fired.Load() {
		return errStalled
	}
	return err
}

// idleBody is an answer's body under watch.
type idleBody struct {
	body   io.ReadCloser
	watch  *watch
	cancel context.CancelCauseFunc
}

func (b *idleBody) Read(p []byte) (int, error) {
	b.watch.start()
	n, err := b.body.Read(p)
	return n, b.watch.stop(err)
}

func (b *idleBody) Close() error {
	b.watch.timer.Stop()
	err := b.body.Close()
	b.cancel(nil)
	return err
}

// attach makes p the body of a request that w watches.
func (p *payload) attach(req *http.Request, w *watch) {
	if p == nil {
		return
	}
	req.ContentLength = p.size
	open := func() (io.ReadCloser, error) {
		if p.size == 0 {
			return http.NoBody, nil
		}
		o := &outgoing{of: p, watch: w}
		p.mu.Lock()
		p.live = o
		p.mu.Unlock()
		return o, nil
	}
	req.Body, _ = open()
	req.GetBody = open
}

// detach ends what p has to do with a request: one that was answered early may go on reading for a while.
func (p *payload) detach() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live = nil
}

// errShort tells that what is to be uploaded has become shorter than it is said to be.
var errShort = errors.New("what is to be uploaded ends too early")

// outgoing reads a payload for one request, from its beginning.
type outgoing struct {
	of    *payload
	watch *watch
	at    int64
}

func (o *outgoing) Read(b []byte) (int, error) {
	p := o.of
	if o.at == p.size {
		return 0, io.EOF
	}
	n, err := p.from.ReadAt(b[:min(int64(len(b)), p.size-o.at)], p.offset+o.at)
	if n > 0 {
		err = nil
	}
	if err == io.EOF {
		err = errShort
	}
	o.at += int64(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live != o {
		return 0, io.ErrClosedPipe
	}
	o.watch.timer.Reset(o.watch.limit)
	if o.at == p.size {
		o.watch.timer.Reset(max(o.watch.limit, answerTime))
	}
	if p.sent != nil {
		p.sent(o.at)
	}
	return n, err
}

// Close leaves what is read from open: it is read again when the request is repeated.
func (o *outgoing) Close() error { return nil }
