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
		return &outgoing{payload: p, watch: w}, nil
	}
	req.Body, _ = open()
	req.GetBody = open
}

// errShort tells that what is to be uploaded has become shorter than it is said to be.
var errShort = errors.New("what is to be uploaded ends too early")

// outgoing reads a payload for one request, from its beginning.
type outgoing struct {
	*payload
	watch  *watch
	at     int64
	closed atomic.Bool
}

func (o *outgoing) Read(b []byte) (int, error) {
	if o.closed.Load() {
		return 0, io.ErrClosedPipe
	}
	if o.at == o.size {
		return 0, io.EOF
	}
	n, err := o.from.ReadAt(b[:min(int64(len(b)), o.size-o.at)], o.offset+o.at)
	if n > 0 {
		err = nil
	}
	if err == io.EOF {
		err = errShort
	}
	o.at += int64(n)
	if !o.closed.Load() { // else nobody listens any more
		o.watch.timer.Reset(o.watch.limit)
		if o.at == o.size {
			o.watch.timer.Reset(max(o.watch.limit, answerTime))
		}
		if o.sent != nil {
			o.sent(o.at)
		}
	}
	return n, err
}

func (o *outgoing) Close() error {
	o.closed.Store(true)
	return nil
}
