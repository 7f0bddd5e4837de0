package server

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	js "github.com/moby/moby/api/types/jsonstream"
)

// The sources of a frame, its first byte.
const (
	fromStdout = 1
	fromStderr = 2
	fromSystem = 3
)

// frameHeader goes before every piece of output where several streams share a connection: the source, three zeros, and
// the length, most significant byte first.
func frameHeader(source byte, length int) [8]byte {
	head := [8]byte{0: source}
	binary.BigEndian.PutUint32(head[4:], uint32(length))
	return head
}

// flush sends what has been written so far on its way.
func (c *call) flush() { _ = http.NewResponseController(c.w).Flush() }

// lazyFlusher gathers small writes and sends them shortly after: a log of a million lines does not become a million
// packets, and a line that comes alone is not kept waiting noticeably.
type lazyFlusher struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	buffer  *bufio.Writer
	timer   *time.Timer
	pending bool
	closed  bool
}

const flushDelay = 4 * time.Millisecond

func newLazyFlusher(w http.ResponseWriter) *lazyFlusher {
	f := &lazyFlusher{w: w, buffer: bufio.NewWriterSize(w, 32<<10)}
	f.timer = time.AfterFunc(time.Hour, f.flush)
	f.timer.Stop()
	return f
}

// write keeps its pieces together.
func (f *lazyFlusher) write(pieces ...[]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range pieces {
		if _, err := f.buffer.Write(p); err != nil {
			return err
		}
	}
	if !f.pending {
		f.pending = true
		f.timer.Reset(flushDelay)
	}
	return nil
}

func (f *lazyFlusher) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.pending = false
	if f.buffer.Flush() == nil {
		_ = http.NewResponseController(f.w).Flush()
	}
}

// close sends the rest; after it the response writer is left alone.
func (f *lazyFlusher) close() {
	f.timer.Stop()
	f.flush()
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
}

// progress writes the messages of a deed that takes its time, one JSON object each. Nothing is sent before the first
// message, so that a deed that fails at once fails with a status code.
type progress struct {
	c  *call
	mu sync.Mutex // pulls report from several layers at once
}

// failure is the last message of a deed that failed half-way; clients of every age find the text.
type failure struct {
	Detail js.Error `json:"errorDetail"`
	Error  string   `json:"error"`
}

func (p *progress) send(m js.Message) { _ = p.write(m) }

func (p *progress) write(message any) error {
	raw, err := json.Marshal(message)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begin()
	if _, err := p.c.w.Write(append(raw, '\r', '\n')); err != nil {
		return err
	}
	p.c.flush()
	return nil
}

func (p *progress) begin() {
	if !p.c.begun {
		p.c.w.Header().Set("Content-Type", "application/json")
		p.c.status(http.StatusOK)
	}
}

// end gives err back to become an error answer when nothing was sent, else puts it into the stream.
func (p *progress) end(err error) error {
	p.mu.Lock()
	begun := p.c.begun
	if err == nil {
		p.begin()
	}
	p.mu.Unlock()
	if err == nil || !begun {
		return err
	}
	return p.fail(err)
}

// fail puts err into the stream whether or not it has begun.
func (p *progress) fail(err error) error {
	return p.failWith(err.Error(), 0)
}

// failWith tells besides with which status a command ended.
func (p *progress) failWith(message string, code int) error {
	return p.write(failure{Detail: js.Error{Message: message, Code: code}, Error: message})
}

// frameLength reads the length out of a frame's header.
func frameLength(head [8]byte) int { return int(binary.BigEndian.Uint32(head[4:])) }
