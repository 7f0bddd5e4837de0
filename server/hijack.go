package server

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/moby/moby/api/types"

	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/sys"
)

// hijacker takes a request's connection over when the engine says that all is in order. A client that asked for an
// upgrade gets 101, an older one 200; raw bytes follow in both directions.
type hijacker struct {
	call    *call
	headers bool   // send the usual headers too
	left    func() // called when the client has gone for good
	conn    *hijacked
}

// hijacked is a connection that no longer speaks HTTP.
type hijacked struct {
	net.Conn
	reader *bufio.Reader // may hold what the client sent before it was answered
	ended  atomic.Bool   // the client has sent everything
	done   chan struct{}
}

// hangUpInterval is how often it is checked whether a silent client is still there.
const hangUpInterval = 2 * time.Second

// open is an engine.Opener.
func (h *hijacker) open(tty bool) (engine.Conn, error) {
	c := h.call
	if c.ContentLength > 0 {
		// It is no input: some clients write there what the query says already.
		if _, err := io.Copy(io.Discard, c.Body); err != nil {
			return nil, fmt.Errorf("read request: %w", err)
		}
	}
	conn, buffered, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	c.begun = true
	h.conn = &hijacked{Conn: conn, reader: buffered.Reader, done: make(chan struct{})}
	var head bytes.Buffer
	if c.Header.Get("Upgrade") != "" {
		fmt.Fprintf(&head, "HTTP/1.1 101 UPGRADED\r\nContent-Type: %s\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n", c.streamType(tty))
	} else {
		fmt.Fprintf(&head, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n", types.MediaTypeRawStream)
	}
	if h.headers {
		_ = c.w.Header().WriteSubset(&head, map[string]bool{"Content-Type": true, "Content-Length": true})
	}
	head.WriteString("\r\n")
	if _, err := conn.Write(head.Bytes()); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	go h.watch(h.conn, !c.query.bool("stdin"))
	return h.conn, nil
}

// watch notices that the client has gone while nothing is read from it: nobody reads when there is no standard input,
// or after its end.
func (h *hijacker) watch(conn *hijacked, silent bool) {
	ticker := time.NewTicker(hangUpInterval)
	defer ticker.Stop()
	for {
		select {
		case <-conn.done:
			return
		case <-ticker.C:
			if (silent || conn.ended.Load()) && hungUp(conn.Conn) {
				h.left()
				return
			}
		}
	}
}

// hungUp tells whether the client has gone altogether; what cannot be asked has not.
func hungUp(conn net.Conn) bool {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	raw, ok := conn.(syscall.Conn)
	return ok && sys.HungUp(raw)
}

// close ends the connection, if it was ever taken over.
func (h *hijacker) close() {
	if h.conn != nil {
		close(h.conn.done)
		h.conn.Conn.Close()
	}
}

// Read gives what the client sends, first what it had sent before the answer.
func (c *hijacked) Read(p []byte) (int, error) {
	var n int
	var err error
	if c.reader.Buffered() > 0 {
		n, err = c.reader.Read(p)
	} else {
		// Not through the reader: at the end of the client's input that would cancel the request's context.
		n, err = c.Conn.Read(p)
	}
	if err == io.EOF {
		c.ended.Store(true)
	}
	return n, err
}

// CloseWrite tells the client that all output has been sent, while its input is still read.
func (c *hijacked) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
