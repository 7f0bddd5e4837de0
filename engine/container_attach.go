package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/logs"
	"github.com/cove-containers/cove/shim"
)

// closeTime is how long a client that has been told the end may take to close its connection.
const closeTime = 200 * time.Millisecond

// Conn is a hijacked connection to a client. CloseWrite tells the client that nothing more comes.
type Conn interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Opener takes over a client's connection. It is called once, when everything is known to be in order: tty
// tells whether raw bytes follow, or frames with Docker's 8-byte headers.
type Opener func(tty bool) (Conn, error)

// AttachOptions says what of a container a client wants to be connected to.
type AttachOptions struct {
	Stdin, Stdout, Stderr bool
	// Logs replays what was logged so far; Stream stays connected.
	Logs, Stream bool
	// DetachKeys in Docker's notation; empty is the engine's default.
	DetachKeys string
	Open       Opener
}

// ContainerAttach connects a client to the container's streams and returns when the connection is over. It may
// come before the container is started.
func (e *Engine) ContainerAttach(ctx context.Context, ref string, o AttachOptions) error {
	keys, err := plan.DetachKeys(o.DetachKeys)
	if err != nil {
		return errdefs.ErrInvalidArgument.WithMessage("Invalid detach keys (" + o.DetachKeys + ") provided")
	}
	c, err := e.containers.Get(ref)
	if err != nil {
		return err
	}
	switch c.State.Status {
	case ct.StatePaused:
		return errdefs.ErrConflict.WithMessage("container " + ref + " is paused, unpause the container before attach")
	case ct.StateRestarting:
		return errdefs.ErrConflict.WithMessage("container " + ref + " is restarting, wait until the container is running")
	}
	r := e.runs.of(c.ID)
	if _, err := e.containers.Get(c.ID); err != nil { // removed meanwhile: no run is to come
		e.runs.forgetWaiting(c.ID)
		return err
	}
	connected := r.connecting.Enter()
	defer connected()
	conn, err := o.Open(c.Config.Tty)
	if err != nil {
		return err
	}
	defer conn.Close()
	var stream Conn
	streams := shim.AttachOptions{Stdin: o.Stdin && c.Config.OpenStdin, Stdout: o.Stdout, Stderr: o.Stderr}
	if o.Logs {
		// What is printed while the log is read must not be missed: a container that runs is connected first.
		var until time.Time
		if o.Stream && e.runs.live(c.ID) == r {
			if stream, err = e.connect(ctx, r, streams); err != nil {
				return err
			}
			until = time.Now()
		}
		if err := e.replay(ctx, c, conn, o, until); err != nil {
			closeStream(stream)
			return nil
		}
	}
	if !o.Stream {
		return conn.CloseWrite()
	}
	e.event(c, et.ActionAttach)
	if stream == nil {
		stream, err = e.connect(ctx, r, streams)
	}
	delivered := r.attached.Enter()
	defer delivered()
	connected()
	if err != nil || stream == nil {
		return err
	}
	if !c.Config.Tty {
		keys = nil
	}
	if pump(ctx, conn, stream, o.Stdin && c.Config.OpenStdin, keys, delivered) {
		e.event(c, et.ActionDetach)
	}
	return nil
}

// connect waits for the run's supervisor and attaches to it; nil is a run that will not come.
func (e *Engine) connect(ctx context.Context, r *run, o shim.AttachOptions) (Conn, error) {
	select {
	case <-r.launched:
		return r.sup.Attach(ctx, "", o)
	case <-r.over:
	case <-e.closing:
	case <-ctx.Done():
	}
	return nil, nil
}

func closeStream(stream Conn) {
	if stream != nil {
		stream.Close()
	}
}

// replay sends what was logged so far, or until a moment that has passed.
func (e *Engine) replay(ctx context.Context, c *container.Container, conn io.Writer, o AttachOptions, until time.Time) error {
	cfg, err := e.logConfig(c)
	if err != nil {
		return err
	}
	now := make(chan struct{})
	close(now)
	query := logs.Query{Tail: -1, Until: until, Stdout: o.Stdout, Stderr: o.Stderr}
	err = logs.Read(ctx, cfg, query, now, func(line logs.Line) error {
		if c.Config.Tty {
			_, err := conn.Write(line.Data)
			return err
		}
		return writeFrame(conn, line.Source == logs.Stderr, line.Data)
	})
	if errdefs.IsNotFound(err) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// writeFrame writes data with the header that tells a client its stream.
func writeFrame(w io.Writer, stderr bool, data []byte) error {
	frame := make([]byte, 8, 8+len(data))
	frame[0] = 1
	if stderr {
		frame[0] = 2
	}
	binary.BigEndian.PutUint32(frame[4:], uint32(len(data)))
	_, err := w.Write(append(frame, data...))
	return err
}

// pump carries bytes between a client and a process until the process has ended and all its output has arrived,
// the client is gone (ctx ends then), or it typed the detach keys. It closes both. sent is called when the output has
// been written, before the client's own end is awaited.
func pump(ctx context.Context, conn, stream Conn, stdin bool, keys []byte, sent func()) (detached bool) {
	defer stream.Close()
	defer context.AfterFunc(ctx, func() {
		stream.Close()
		conn.Close()
	})()
	left := make(chan bool, 1)
	go func() { left <- pumpInput(conn, stream, stdin, keys) }()
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		buffer := make([]byte, 32<<10)
		if _, err := io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{stream}, buffer); err == nil {
			conn.CloseWrite()
		}
	}()
	for {
		select {
		case <-delivered:
			sent()
			awaitClose(left)
			conn.Close()
			return false
		case gone := <-left:
			if gone {
				stream.Close()
				conn.Close()
				<-delivered
				return true
			}
			left = nil
		}
	}
}

// awaitClose lets the client close first: a connection that is closed while something lies unread in it looks
// broken to the client.
func awaitClose(left <-chan bool) {
	if left == nil {
		return
	}
	timer := time.NewTimer(closeTime)
	defer timer.Stop()
	select {
	case <-left:
	case <-timer.C:
	}
}

// pumpInput carries the client's bytes to the process. It returns true when the client detached, and false at the
// end of its input: output may follow.
func pumpInput(conn, stream Conn, stdin bool, keys []byte) bool {
	scanner := plan.DetachScanner{Keys: keys}
	buffer := make([]byte, 32<<10)
	for {
		n, err := conn.Read(buffer)
		if n > 0 && stdin {
			typed, detached := scanner.Scan(buffer[:n])
			if len(typed) > 0 {
				if _, err := stream.Write(typed); err != nil {
					stdin = false
				}
			}
			if detached {
				return true
			}
		}
		if err == nil {
			continue
		}
		if stdin {
			stream.Write(scanner.Rest())
			stream.CloseWrite()
		}
		return !errors.Is(err, io.EOF) && !stdin
	}
}
