package server

import (
	"fmt"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/engine"
)

// execStart runs a prepared command. A command that is not there, or whose container does not run, is refused with a
// status code; one that cannot be started says so in the stream, because that is where clients look.
func (s *Server) execStart(c *call) error {
	var request ct.ExecStartRequest
	if err := c.readJSON(&request); err != nil {
		return err
	}
	if !c.since(42) || !request.Tty {
		request.ConsoleSize = nil
	}
	ctx, cancel := c.hijackable()
	defer cancel()
	h := &hijacker{call: c, headers: true, left: cancel}
	defer h.close()
	err := s.Execs.ExecStart(ctx, c.name("id"), engine.ExecStartOptions{
		Detach:      request.Detach,
		Tty:         request.Tty,
		ConsoleSize: request.ConsoleSize,
		Open:        h.open,
	})
	if err == nil || request.Detach || h.conn != nil || errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return err
	}
	conn, hijackErr := h.open(request.Tty)
	if hijackErr != nil {
		return err
	}
	text := fmt.Sprintf("%v\r\n", err)
	if !request.Tty {
		head := frameHeader(fromStdout, len(text))
		text = string(head[:]) + text
	}
	_, _ = conn.Write([]byte(text))
	return nil
}
