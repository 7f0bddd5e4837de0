package shim

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/cove-containers/cove/sys"
)

// holdBack is how much output a client that does not read may let gather before the container has to wait.
const holdBack = 1 << 20

// Numbers of the streams in docker's frames.
const (
	stdout = 1
	stderr = 2
)

// client is one attachment, on the supervisor's side. Its writer has a goroutine of its own, so that clients do not wait
// for one another, nor the log for any of them.
type client struct {
	socket *sys.Socket
	wants  AttachOptions

	mu      sync.Mutex
	changed sync.Cond
	pending []byte // output not yet taken by the writer
	free    bool   // take output without bound: the process has ended
	ending  bool   // send what is pending, then end
	gone    bool   // the other end hung up
}

func newClient(socket *sys.Socket, wants AttachOptions) *client {
	c := &client{socket: socket, wants: wants}
	c.changed.L = &c.mu
	return c
}

// put hands output over; it waits while too much is pending. framed output gets docker's header.
func (c *client) put(source byte, framed bool, p []byte) {
	if source == stdout && !c.wants.Stdout || source == stderr && !c.wants.Stderr {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.pending) >= holdBack && !c.free && !c.gone {
		c.changed.Wait()
	}
	if c.gone {
		return
	}
	if framed {
		c.pending = append(c.pending, source, 0, 0, 0)
		c.pending = binary.BigEndian.AppendUint32(c.pending, uint32(len(p)))
	}
	c.pending = append(c.pending, p...)
	c.changed.Broadcast()
}

// mark changes what the client is told; waiting puts and the writer look again.
func (c *client) mark(change func(c *client)) {
	c.mu.Lock()
	change(c)
	c.mu.Unlock()
	c.changed.Broadcast()
}

// write sends output until the client is to end or is gone, and closes the connection.
func (c *client) write() {
	var spare []byte
	for {
		c.mu.Lock()
		for len(c.pending) == 0 && !c.ending && !c.gone {
			if cap(c.pending) > keptBuffer {
				c.pending = nil
			}
			if cap(spare) > keptBuffer {
				spare = nil
			}
			c.changed.Wait()
		}
		if c.gone || len(c.pending) == 0 {
			c.mu.Unlock()
			break
		}
		out := c.pending
		c.pending = spare[:0]
		c.mu.Unlock()
		c.changed.Broadcast()
		_, err := c.socket.Write(out)
		spare = out
		if err != nil {
			c.mark(func(c *client) { c.gone = true })
		}
	}
	c.mark(func(c *client) { c.gone, c.pending = true, nil })
	_ = c.socket.Close()
}

// keptBuffer is how large a buffer may be to be kept while nothing happens.
const keptBuffer = 16 << 10

// errDetached ends readInput when the client hung up without ending its input first.
var errDetached = errors.New("client is gone")

// readInput gives the client's input to each piece by piece; nil when the client ended its input.
func (c *client) readInput(each func([]byte)) error {
	length := make([]byte, 4)
	var buf []byte
	for {
		if _, err := io.ReadFull(c.socket, length); err != nil {
			return errDetached
		}
		n := int(binary.BigEndian.Uint32(length))
		if n == 0 {
			return nil
		}
		if n > maxInput {
			return errDetached
		}
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		if _, err := io.ReadFull(c.socket, buf[:n]); err != nil {
			return errDetached
		}
		each(buf[:n])
	}
}

// maxInput is the largest piece of input in one frame.
const maxInput = 64 << 10
