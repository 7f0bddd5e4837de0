package archive

import "io"

const (
	aheadPieces = 6
	aheadPiece  = 256 << 10
)

// ReadAhead reads r in a goroutine of its own, up to 1.5 MB ahead of whoever reads the result, so that what r does
// (fetching, decompressing) overlaps with what the reader does. Close ends the goroutine and waits for it, which
// needs r to return from Read; it does not close r.
func ReadAhead(r io.Reader) io.ReadCloser {
	a := &ahead{full: make(chan piece, aheadPieces), empty: make(chan []byte, aheadPieces), stop: make(chan struct{}), done: make(chan struct{})}
	for range aheadPieces {
		a.empty <- nil // made when first needed: most streams are short
	}
	go a.run(r)
	return a
}

// piece is part of a stream, and how it ended if this is the last.
type piece struct {
	data []byte
	err  error
}

type ahead struct {
	full       chan piece
	empty      chan []byte
	stop, done chan struct{}
	now        piece
	rest       []byte
	closed     bool
}

func (a *ahead) run(r io.Reader) {
	defer close(a.done)
	for {
		var buf []byte
		select {
		case buf = <-a.empty:
		case <-a.stop:
			return
		}
		if buf == nil {
			buf = make([]byte, aheadPiece)
		}
		n, err := readPiece(r, buf)
		a.full <- piece{buf[:n], err} // never blocks: there are no more pieces than places
		if err != nil {
			return
		}
	}
}

// readPiece fills buf as far as r goes on, but does not hold back a whole lot of small reads.
func readPiece(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf)/2 && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

func (a *ahead) Read(p []byte) (int, error) {
	if a.closed {
		return 0, io.ErrClosedPipe
	}
	for len(a.rest) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.data != nil {
			a.empty <- a.now.data[:cap(a.now.data)]
		}
		a.now = <-a.full
		a.rest = a.now.data
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

func (a *ahead) Close() error {
	if !a.closed {
		a.closed = true
		close(a.stop)
		<-a.done
	}
	return nil
}
