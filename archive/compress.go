package archive

import (
	"bytes"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/gzip"
)

const (
	// compressBlock is how much is compressed by itself; larger ones compress hardly better.
	compressBlock = 1 << 20
	// compressLevel is where klauspost's gzip takes half the time of its default and writes some 5 % more.
	compressLevel = 3
)

// Compress gives a writer whose gzip lands in w, made by all processors: a member for each megabyte, which is one stream to
// whoever reads it. The same content always gives the same bytes. Close does not close w; without it nothing is complete.
func Compress(w io.Writer) io.WriteCloser {
	c := &compressor{
		block: make([]byte, 0, compressBlock), queue: make(chan chan []byte, runtime.GOMAXPROCS(0)), failed: make(chan struct{}), done: make(chan struct{}),
	}
	go c.write(w)
	return c
}

type compressor struct {
	block  []byte
	begun  bool
	queue  chan chan []byte // what is being compressed, in order
	failed chan struct{}    // closed when w takes no more
	done   chan struct{}    // closed when all that will be is written
	err    error            // why, once failed is closed
	closed bool
}

// write hands over the members in order.
func (c *compressor) write(w io.Writer) {
	defer close(c.done)
	for next := range c.queue {
		member := <-next
		if c.err != nil {
			continue
		}
		if _, err := w.Write(member); err != nil {
			c.err = fmt.Errorf("compress: %w", err)
			close(c.failed)
		}
	}
}

// Write takes content; an error of the underlying writer is told by a later call.
func (c *compressor) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(len(p), compressBlock-len(c.block))
		c.block, p = append(c.block, p[:take]...), p[take:]
		if len(c.block) == compressBlock {
			if err := c.flush(); err != nil {
				return n - len(p), err
			}
		}
	}
	return n, nil
}

// flush begins to compress a block.
func (c *compressor) flush() error {
	select {
	case <-c.failed:
		return c.err
	default:
	}
	c.begun = true
	block, next := c.block, make(chan []byte, 1)
	c.queue <- next
	go func() { next <- member(block) }()
	c.block = make([]byte, 0, compressBlock)
	return nil
}

func member(block []byte) []byte {
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, compressLevel) // the level is one there is
	z.Write(block)                                   // a buffer takes everything
	z.Close()
	return out.Bytes()
}

// Close writes the rest. It must be called also after an error.
func (c *compressor) Close() error {
	if c.closed {
		return c.err
	}
	c.closed = true
	var err error
	if len(c.block) > 0 || !c.begun {
		err = c.flush()
	}
	close(c.queue)
	<-c.done
	if err == nil {
		err = c.err
	}
	return err
}
