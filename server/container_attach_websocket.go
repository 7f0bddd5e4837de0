package server

import (
	"errors"

	"golang.org/x/net/websocket"

	"github.com/cove-containers/cove/engine"
)

// containerAttachWebsocket is containerAttach for clients that speak WebSocket. Output is never framed: a message is
// what was printed.
func (s *Server) containerAttachWebsocket(c *call) error {
	ctx, cancel := c.lasting()
	defer cancel()
	all := !c.since(42) // the choice of streams was not looked at
	w := &websocketOpener{call: c, done: make(chan struct{}), ended: make(chan struct{})}
	defer w.close()
	return s.Streams.ContainerAttach(ctx, c.name("id"), engine.AttachOptions{
		Stdin:      all || c.query.bool("stdin"),
		Stdout:     all || c.query.bool("stdout"),
		Stderr:     all || c.query.bool("stderr"),
		Logs:       c.query.bool("logs"),
		Stream:     c.query.bool("stream"),
		DetachKeys: c.query.get("detachKeys"),
		Open:       w.open,
	})
}

// websocketOpener shakes hands when the engine is ready. The handler of package websocket lives as long as the
// connection, beside the engine's call.
type websocketOpener struct {
	call   *call
	opened bool
	done   chan struct{} // closed when the engine is done with the connection
	ended  chan struct{} // closed when the handler has returned
}

func (w *websocketOpener) open(tty bool) (engine.Conn, error) {
	conns := make(chan *websocket.Conn, 1)
	handler := websocket.Server{Handler: func(conn *websocket.Conn) {
		conns <- conn
		<-w.done
	}}
	w.opened, w.call.begun = true, true
	go func() {
		defer close(w.ended)
		handler.ServeHTTP(w.call.w, w.call.Request)
	}()
	select {
	case conn := <-conns:
		if w.call.since(28) {
			conn.PayloadType = websocket.BinaryFrame
		}
		return &unframed{Conn: conn, plain: tty}, nil
	case <-w.ended:
		return nil, errors.New("websocket handshake failed")
	}
}

func (w *websocketOpener) close() {
	close(w.done)
	if w.opened {
		<-w.ended
	}
}

// unframed takes the headers off the frames the engine writes.
type unframed struct {
	*websocket.Conn
	plain bool
	head  []byte // what has come of the next header
	left  int    // what is to come of the current frame
}

// Write sends the content of frames; a frame may come in several pieces, and a piece hold several frames.
func (u *unframed) Write(p []byte) (int, error) {
	if u.plain {
		return u.Conn.Write(p)
	}
	for rest := p; len(rest) > 0; {
		if u.left > 0 {
			n := min(u.left, len(rest))
			if _, err := u.Conn.Write(rest[:n]); err != nil {
				return 0, err
			}
			u.left -= n
			rest = rest[n:]
			continue
		}
		n := min(8-len(u.head), len(rest))
		u.head = append(u.head, rest[:n]...)
		rest = rest[n:]
		if len(u.head) == 8 {
			u.left = frameLength([8]byte(u.head))
			u.head = u.head[:0]
		}
	}
	return len(p), nil
}

// CloseWrite tells the client by the only sign WebSocket has, which ends both directions.
func (u *unframed) CloseWrite() error { return u.WriteClose(1000) }
