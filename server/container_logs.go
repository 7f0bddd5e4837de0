package server

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types"

	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/logs"
)

// containerLogs streams lines as they are for a terminal, in frames else. What goes wrong after the first byte is a
// frame of the stream for system errors.
func (s *Server) containerLogs(c *call) error {
	o := engine.LogsOptions{
		Stdout:     c.query.bool("stdout"),
		Stderr:     c.query.bool("stderr"),
		Follow:     c.query.bool("follow"),
		Timestamps: c.query.bool("timestamps"),
		Details:    c.query.bool("details"),
		Tail:       parseTail(c.query.get("tail")),
	}
	if !o.Stdout && !o.Stderr {
		return bad("Bad parameters: you must choose at least one stream")
	}
	var err error
	if o.Since, err = c.query.time("since"); err != nil {
		return err
	}
	if o.Until, err = c.query.time("until"); err != nil {
		return err
	}
	ctx, cancel := c.lasting()
	defer cancel()

	var out *lazyFlusher
	var frames bool
	open := func(tty bool) error {
		frames = !tty
		c.w.Header().Set("Content-Type", c.streamType(tty))
		c.status(http.StatusOK)
		c.flush()
		out = newLazyFlusher(c.w)
		return nil
	}
	emit := func(line logs.Line, prefix string) error {
		if !frames {
			return out.write([]byte(prefix), line.Data)
		}
		source := byte(fromStdout)
		if line.Source == logs.Stderr {
			source = fromStderr
		}
		head := frameHeader(source, len(prefix)+len(line.Data))
		return out.write(head[:], []byte(prefix), line.Data)
	}
	err = s.Streams.ContainerLogs(ctx, c.name("id"), o, open, emit)
	if out == nil {
		return err
	}
	if err != nil && !gone(ctx, err) && frames {
		text := fmt.Sprintf("Error grabbing logs: %v\n", err)
		head := frameHeader(fromSystem, len(text))
		_ = out.write(head[:], []byte(text))
	}
	out.close()
	return err
}

// parseTail reads a number of lines; whatever is none means all of them, as for dockerd.
func parseTail(raw string) int {
	n, err := strconv.Atoi(raw)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// streamType is the content type of a stream: before API 1.42 it was the same for frames and raw bytes.
func (c *call) streamType(tty bool) string {
	if !tty && c.since(42) {
		return types.MediaTypeMultiplexedStream
	}
	return types.MediaTypeRawStream
}
